"""A store keeps variables by name, and takes in what was trained before or stays as it is."""

import copy
import os
import pickle
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from arrays import DTYPES, HOSTILE, dtype_named
from hypothesis import given
from hypothesis import strategies as st

import numclip as nc

NAMES = ["backbone/block1/kernel", "backbone/block1/bias", "backbone/block10/kernel", "head/kernel"]


def model(value: float = 0.0) -> nc.VariableStore:
    arrays = {name: np.full((2, i + 1), value, np.float32) for i, name in enumerate(NAMES)}
    return nc.VariableStore.from_dict(arrays)


def bits(store: nc.VariableStore) -> list[tuple[str, int, Any, bytes]]:
    return [
        (name, id(variable.array), variable.shape, variable.array.tobytes())
        for name, variable in store.items()
    ]


def numbers(store: nc.VariableStore) -> dict[str, float]:
    """Return the number that each array is full of."""
    found = {}
    for name, variable in store.items():
        assert np.all(variable.array == variable.array.flat[0])
        found[name] = float(variable.array.flat[0])
    return found


# -- Scopes.


def test_scopes_nest_and_are_continued() -> None:
    store = nc.VariableStore()
    first = store.variable("a", 0.0)
    with store.scope("net") as net:
        store.variable("b", 0.0)
        with store.scope("layer1/attention") as layer:
            store.variable("c/d", 0.0)
        store.variable("e", 0.0)
    with store.scope("net"), store.scope("layer1"):
        last = store.variable("f", 0.0)
    assert (net, layer) == ("net", "net/layer1/attention")
    names = ["a", "net/b", "net/layer1/attention/c/d", "net/e", "net/layer1/f"]
    assert list(store) == names
    assert [variable.name for variable in store.values()] == names
    assert (store["a"], store["net/layer1/f"]) == (first, last)


def test_a_scope_ends_with_its_block_whatever_happens() -> None:
    store = nc.VariableStore()
    with pytest.raises(KeyError, match="in between"), store.scope("a"), store.scope("b"):
        raise KeyError("in between")
    assert store.variable("w", 0.0).name == "w"


def test_a_scope_may_have_the_name_of_a_variable() -> None:
    store = nc.VariableStore()
    store.variable("layer1", 0.0)
    with store.scope("layer1"):
        store.variable("w", 0.0)
    assert list(store) == ["layer1", "layer1/w"]


def test_stores_know_nothing_of_each_other() -> None:
    first, second = nc.VariableStore(), nc.VariableStore()
    with first.scope("a"):
        assert second.variable("w", 0.0).name == "w"
        assert first.variable("w", 0.0).name == "a/w"
    assert list(nc.VariableStore()) == []


def test_a_scope_is_of_its_thread() -> None:
    store, entered, done = nc.VariableStore(), threading.Event(), threading.Event()

    def inside() -> None:
        with store.scope("theirs"):
            entered.set()
            assert done.wait(10)
            store.variable("w", 0.0)

    thread = threading.Thread(target=inside)
    thread.start()
    assert entered.wait(10)
    with store.scope("ours"):
        store.variable("w", 0.0)
        done.set()
        thread.join()
    assert list(store) == ["ours/w", "theirs/w"]


def test_threads_that_make_the_same_variable() -> None:
    store = nc.VariableStore()
    barrier = threading.Barrier(8)

    def make(thread: int) -> int:
        barrier.wait()
        made = 0
        for i in range(200):
            try:
                with store.scope(f"layer{i}"):
                    store.variable("w", float(thread))
            except ValueError:
                continue
            made += 1
        return made

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(make, range(8))) == len(store) == 200


# -- Variables.


@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if name not in ("read-only", "broadcast")]
)
def test_arrays_are_wrapped_and_not_copied(name: str) -> None:
    for dtype in map(dtype_named, DTYPES):
        array = HOSTILE[name](dtype)
        store = nc.VariableStore()
        assert store.variable("w", array).array is array
        assert nc.VariableStore.from_dict({"w": array})["w"].array is array
        assert store.to_dict()["w"] is array


def test_options_are_those_of_a_variable() -> None:
    store = nc.VariableStore()
    w = store.variable("w", [0.5], False, (0.0, 1.0))
    assert (w.trainable, w.constraint) == (False, (0.0, 1.0))
    assert (store.variable("b", [0.5]).trainable, store["b"].constraint) == (True, None)
    assert store["b"].update_mask is None
    masked = store.variable("masked", [0.5, 1.0], update_mask=[True, False])
    assert masked.update_mask.tolist() == [True, False]
    with pytest.raises(TypeError, match="unexpected keyword argument 'regularizer'"):
        store.variable("c", [0.5], regularizer=None)
    assert list(store) == ["w", "b", "masked"]


def test_it_is_a_mapping() -> None:
    store = model()
    assert isinstance(store, Mapping)
    assert (len(store), list(store), [*store.keys()]) == (4, NAMES, NAMES)
    assert dict(store.items())["head/kernel"] is store["head/kernel"]
    assert "head/kernel" in store
    assert "head" not in store
    assert store.get("head") is None
    assert not nc.VariableStore()
    with pytest.raises(KeyError, match="the store has no variable 'haed/kernel'"):
        store["haed/kernel"]
    with pytest.raises(TypeError):
        store["w"] = nc.Variable(0.0)  # type: ignore[index]
    assert repr(store) == "VariableStore(variables=4, numbers=20)"


def test_copies_have_arrays_of_their_own() -> None:
    store = model(1.0)
    with store.scope("here"):
        copies = [copy.deepcopy(store), pickle.loads(pickle.dumps(store))]
        for copied in copies:
            assert numbers(copied) == numbers(store)
            copied["head/kernel"].assign(np.zeros((2, 4)))
            copied.variable("new", 0.0)
    assert numbers(store) == dict.fromkeys(NAMES, 1.0)


# -- Dicts.

values = st.floats(0, 1, width=32).map(lambda number: np.full(2, number, np.float32))
components = st.sampled_from(["a", "b", "layer1", "v1.5", "w"]) | st.text(min_size=1).filter(
    lambda text: "/" not in text
)
trees = st.recursive(values, lambda inner: st.dictionaries(components, inner, max_size=4))


@given(st.dictionaries(components, trees, max_size=4))
def test_dicts_come_back_as_they_were(tree: dict[str, Any]) -> None:
    def without_empty(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        inner = {key: without_empty(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if not isinstance(each, dict) or each}

    store = nc.VariableStore.from_dict(tree)
    assert same(store.to_dict(nested=True), without_empty(tree))
    flat = store.to_dict()
    again = nc.VariableStore.from_dict(flat)
    assert list(again) == list(flat) == list(store)
    assert all(again[name].array is array for name, array in flat.items())


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    return first is second


def test_flat_and_nested_names_may_be_mixed() -> None:
    store = nc.VariableStore.from_dict({"a/b": 1.0, "a": {"c/d": 2.0, "e": {}}}, trainable=False)
    assert numbers(store) == {"a/b": 1.0, "a/c/d": 2.0}
    assert nc.trainable_variables(store) == []
    assert store.to_dict(nested=True) == {"a": {"b": 1.0, "c": {"d": 2.0}}}


def test_a_variable_with_the_name_of_a_scope_has_no_place_in_a_nested_dict() -> None:
    for names in (["a", "a/b"], ["a/b", "a"], ["a/b/c", "a/b"]):
        store = nc.VariableStore.from_dict(dict.fromkeys(names, 0.0))
        assert list(store.to_dict()) == names
        with pytest.raises(ValueError, match="`nested` must be False where a variable has"):
            store.to_dict(nested=True)


# -- Errors of making.

READ_ONLY = np.broadcast_to(1.0, (2,))
REFUSED: dict[str, tuple[Callable[[nc.VariableStore], Any], type[Exception], str]] = {
    "a name twice": (
        lambda store: store.variable("head/kernel", 0.0),
        ValueError,
        "`name` must be new in its scope, got 'head/kernel', which is there",
    ),
    "empty name": (lambda store: store.variable("", 0.0), ValueError, "`name` must not have an"),
    "empty component": (lambda store: store.variable("a//b", 0.0), ValueError, "got 'a//b'"),
    "from the root": (lambda store: store.variable("/a", 0.0), ValueError, "got '/a'"),
    "a scope": (lambda store: store.variable("a/", 0.0), ValueError, "got 'a/'"),
    "no name": (lambda store: store.variable(None, 0.0), TypeError, "`name` must be a string"),
    "no value": (
        lambda store: store.variable("w", "text"),
        TypeError,
        "w: `initial_value` must be",
    ),
    "read-only": (
        lambda store: store.variable("w", READ_ONLY),
        ValueError,
        "w: `initial_value` must be writable",
    ),
    "bounds": (lambda store: store.variable("w", 0.0, True, (1, 0)), ValueError, "`constraint`"),
    "empty scope": (lambda store: store.scope(""), ValueError, "`name` must not have an empty"),
    "scope with a slash": (lambda store: store.scope("a/"), ValueError, "got 'a/'"),
    "scope of a number": (lambda store: store.scope(1), TypeError, "`name` must be a string"),
    "list": (lambda store: store.from_dict([1.0]), TypeError, "`arrays` must be a dict"),
    "key": (lambda store: store.from_dict({"a": {1: 0.0}}), TypeError, "`arrays['a'][1]` must"),
    "empty key": (
        lambda store: store.from_dict({"a": {"": 0.0}}),
        ValueError,
        "`arrays['a']['']` must not have an empty component, got 'a/'",
    ),
    "twice": (
        lambda store: store.from_dict({"a/b": 0.0, "a": {"b": 0.0}}),
        ValueError,
        "got 'a/b', which is there",
    ),
    "Variable": (
        lambda store: store.from_dict({"a": nc.Variable(0.0)}),
        TypeError,
        "`arrays['a']` must be an array, got Variable",
    ),
    "text": (lambda store: store.from_dict({"a": {"b": "c"}}), TypeError, "a/b: `initial_value`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name: str) -> None:
    function, error, text = REFUSED[name]
    store = model()
    before = bits(store)
    with pytest.raises(error, match=re.escape(text)):
        function(store)
    assert bits(store) == before
    assert store.variable("next", 0.0).name == "next"


# -- Restoring.


def save_numclip(path: Path, arrays: Mapping[str, Any]) -> None:
    nc.save(path, arrays)


def save_nested(path: Path, arrays: Mapping[str, Any]) -> None:
    nc.save(path, nc.VariableStore.from_dict(arrays).to_dict(nested=True))


def save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def save_compressed(path: Path, arrays: Mapping[str, Any]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def save_safetensors(path: Path, arrays: Mapping[str, Any]) -> None:
    package = pytest.importorskip("safetensors.numpy")
    package.save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, path)


FILES: dict[str, tuple[str, Callable[[Path, Mapping[str, Any]], None]]] = {
    "numclip": ("model", save_numclip),
    "nested": ("model.npz", save_nested),
    "npz": ("model.npz", save_npz),
    "compressed npz": ("model.npz", save_compressed),
    "safetensors": ("model.safetensors", save_safetensors),
}
Saver = Callable[[Mapping[str, Any]], Any]


@pytest.fixture(params=[*FILES, "dict", "nested dict", "store"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Saver:
    """Return a function that puts arrays where they are to be restored from."""

    def save(arrays: Mapping[str, Any]) -> Any:
        if request.param in FILES:
            name, function = FILES[request.param]
            function(tmp_path / name, arrays)
            return tmp_path / name
        store = nc.VariableStore.from_dict(arrays)
        forms = {
            "dict": store.to_dict(),
            "nested dict": store.to_dict(nested=True),
            "store": store,
        }
        return forms[request.param]

    return save


def test_all_comes_back_in_place(saved: Saver) -> None:
    trained, store = model(1.0), model()
    places = [id(variable.array) for variable in store.values()]
    report = store.restore(saved(trained.to_dict()))
    assert report == (tuple(NAMES), (), (), (), ())
    assert [id(variable.array) for variable in store.values()] == places
    assert numbers(store) == dict.fromkeys(NAMES, 1.0)


# What a format has no dtype for.
NOT_IN = {
    ("npz", "bfloat16"),
    ("compressed npz", "bfloat16"),
    ("safetensors", "complex128"),
}


@pytest.mark.parametrize("dtype", [*DTYPES, "int8", "uint16", "int64"])
def test_bits_come_back(dtype: str, saved: Saver, request: pytest.FixtureRequest) -> None:
    array = np.arange(-3, 9).reshape(3, 4).astype(dtype_named(dtype))
    store = nc.VariableStore.from_dict({"a/b": np.zeros((3, 4), array.dtype)})
    if (request.node.callspec.params["saved"], dtype) in NOT_IN:
        return
    store.restore(saved({"a/b": array}))
    assert store["a/b"].array.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if name not in ("read-only", "broadcast")]
)
def test_any_layout_is_written_to(name: str, tmp_path: Path) -> None:
    for dtype in map(dtype_named, DTYPES):
        array = HOSTILE[name](dtype)
        expected = np.array(array)
        store = nc.VariableStore.from_dict({"w": array})
        nc.save(tmp_path / "model.npz", store)
        array[...] = 0
        store.restore(tmp_path / "model.npz")
        assert array.tobytes() == expected.tobytes()


def test_a_part_is_restored(saved: Saver) -> None:
    source = saved(model(1.0).to_dict())
    for include, exclude, loaded in [
        (None, "head", NAMES[:3]),
        ("backbone/block1", None, NAMES[:2]),
        ("**/kernel", ["head", re.compile("backbone/block10")], NAMES[:1]),
        (lambda name: name.endswith("bias"), None, NAMES[1:2]),
    ]:
        store = model()
        report = store.restore(source, include, exclude)
        left = [name for name in NAMES if name not in loaded]
        assert report == (tuple(loaded), tuple(left), (), (), ())
        assert numbers(store) == {name: float(name in loaded) for name in NAMES}


def test_what_is_not_asked_for_may_be_missing_or_of_another_shape(saved: Saver) -> None:
    arrays = model(1.0).to_dict() | {"head/kernel": np.ones(7)}
    for other in (arrays, {name: arrays[name] for name in NAMES[:3]}):
        store = model()
        assert store.restore(saved(other), exclude="head").left == ("head/kernel",)
        assert store.restore(saved(other), "backbone").loaded == tuple(NAMES[:3])


def test_the_report_says_what_became_of_all(saved: Saver) -> None:
    arrays = model(1.0).to_dict()
    del arrays["backbone/block1/bias"]
    arrays["backbone/block10/kernel"] = np.ones((2, 4), np.float32)
    arrays["step"] = np.array(7)
    source = saved(arrays)
    store = model()
    report = store.restore(source, exclude="head", strict=False)
    assert report.loaded == ("backbone/block1/kernel",)
    assert report.left == ("head/kernel",)
    assert report.missing == ("backbone/block1/bias",)
    assert report.mismatched == ("backbone/block10/kernel",)
    assert report.unused == ("step",)
    assert numbers(store) == {name: float(name in report.loaded) for name in NAMES}
    assert repr(report) == (
        "RestoreReport(1 loaded: 'backbone/block1/kernel'; 1 left: 'head/kernel';"
        " 1 missing: 'backbone/block1/bias'; 1 mismatched: 'backbone/block10/kernel';"
        " 1 unused: 'step')"
    )


def test_a_report_on_many_is_short() -> None:
    store = nc.VariableStore.from_dict({f"w{i}": 0.0 for i in range(1000)})
    report = store.restore(store)
    assert repr(report) == "RestoreReport(1000 loaded: 'w0', 'w1', 'w2' and 997 more)"
    assert repr(nc.VariableStore().restore({})) == "RestoreReport()"


@pytest.mark.parametrize(
    ("dtype", "target"),
    [("f8", "f4"), ("f4", "f8"), ("f4", "f2"), ("i8", "f4"), ("i8", "i4"), ("f4", ">f4")],
)
def test_dtypes_are_cast_as_assign_casts(dtype: str, target: str, saved: Saver) -> None:
    numbers = np.array([1, 2, 100]).astype(dtype)
    store = nc.VariableStore.from_dict({"w": np.zeros(3, target)})
    store.restore(saved({"w": numbers}))
    assert store["w"].dtype == target
    assert store["w"].array.tolist() == [1, 2, 100]


def test_halves_are_cast(tmp_path: Path) -> None:
    half = np.arange(4.0).astype(ml_dtypes.bfloat16)
    for name, save in (FILES["numclip"], FILES["safetensors"]):
        save(tmp_path / name, {"w": half})
        store = nc.VariableStore.from_dict({"w": np.zeros(4, np.float32)})
        store.restore(tmp_path / name)
        assert store["w"].array.tolist() == [0, 1, 2, 3]


def test_arrays_of_the_store_itself_may_be_exchanged() -> None:
    store = nc.VariableStore.from_dict({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    store.restore(store, rename={"a": "b", "b": "a"})
    assert (store["a"].array.tolist(), store["b"].array.tolist()) == ([3.0, 4.0], [1.0, 2.0])
    store.restore({"a": store["a"].array[::-1], "b": store["a"].array})
    assert (store["a"].array.tolist(), store["b"].array.tolist()) == ([4.0, 3.0], [3.0, 4.0])


# -- Renaming.

RENAMED: list[tuple[list[str], Any, list[str]]] = [
    (["resnet/a", "resnet/b/c"], {"resnet": "net"}, ["net/a", "net/b/c"]),
    (["resnet/a", "resnet10/a"], {"resnet": "net"}, ["net/a", "resnet10/a"]),
    (["a/w", "a/b/w"], {"a": "x", "a/b": "y"}, ["x/w", "y/w"]),
    (["a/w", "b/w"], {"a": "b", "b": "a"}, ["b/w", "a/w"]),
    (["model/a", "model/b/c"], {"model": ""}, ["a", "b/c"]),
    (["a", "b/c"], {"": "model"}, ["model/a", "model/b/c"]),
    (["fc/w", "fc/b"], {"fc/w": "head/kernel", "fc/b": "head/bias"}, ["head/kernel", "head/bias"]),
    (["fc/w"], {"fc/": "deep/head/"}, ["deep/head/w"]),
    (["w:0", "b:0"], lambda name: name.removesuffix(":0"), ["w", "b"]),
    # PyTorch's names go by the same components.
    (["layer1.0.weight", "fc.bias"], None, ["layer1/0/weight", "fc/bias"]),
    (["layer1/0/weight", "fc/bias"], None, ["layer1.0.weight", "fc.bias"]),
    (["layer1.0.w", "fc.w"], {"layer1.0": "block/first", "fc": ""}, ["block/first/w", "w"]),
    (["layer1.0.w"], {"layer1/0": "block"}, ["block/w"]),
    (["layer1.0.w"], {"layer1": "block"}, ["block.0.w"]),
    (["layer1.0.weight"], lambda name: name.replace("weight", "kernel"), ["layer1/0/kernel"]),
    (["v1.5/w", "v2.5/w"], {"v1.5": "old"}, ["old/w", "v2.5/w"]),
]


@pytest.mark.parametrize(("names", "rename", "expected"), RENAMED)
def test_renaming(names: list[str], rename: Any, expected: list[str], saved: Saver) -> None:
    source = saved({name: np.full(2, i + 1.0) for i, name in enumerate(names)})
    store = nc.VariableStore.from_dict({name: np.zeros(2) for name in expected})
    assert store.restore(source, rename=rename).loaded == tuple(expected)
    assert numbers(store) == {name: i + 1.0 for i, name in enumerate(expected)}


def test_a_name_as_it_stands_comes_before_its_components() -> None:
    store = nc.VariableStore.from_dict({"a.b": 0.0, "a/b": 0.0})
    store.restore({"a.b": 1.0, "a/b": 2.0})
    assert numbers(store) == {"a.b": 1.0, "a/b": 2.0}


# -- Errors of restoring: each leaves everything as it was.

ARRAYS = {name: np.ones((2, i + 1), np.float32) for i, name in enumerate(NAMES)}


def arrays_but(**changes: Any) -> dict[str, Any]:
    changed = {name.replace("_", "/"): value for name, value in changes.items()}
    merged = ARRAYS | changed
    return {name: value for name, value in merged.items() if value is not None}


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], list[str]]] = {
    "missing": (
        arrays_but(head_kernel=None, haed_kernel=1.0),
        {},
        ValueError,
        ["`path_or_mapping`", "without 'head/kernel'", "goes by: 'haed/kernel'"],
    ),
    "another shape": (
        arrays_but(head_kernel=np.ones(8)),
        {},
        ValueError,
        ["`path_or_mapping` must have 'head/kernel' of shape (2, 4), got (8,)"],
    ),
    "another kind": (
        arrays_but(head_kernel=np.ones((2, 4), np.complex64)),
        {},
        TypeError,
        ["`path_or_mapping` must have 'head/kernel' of dtype float32, got complex64"],
    ),
    "two for one": (
        arrays_but(tail_kernel=1.0),
        {"rename": {"tail": "head"}},
        ValueError,
        ["must have one array for 'head/kernel', got 'head/kernel' and 'tail/kernel'"],
    ),
    "include": (ARRAYS, {"include": "haed"}, ValueError, ["`include`", "'haed'"]),
    "exclude": (ARRAYS, {"exclude": ["head", "tail"]}, ValueError, ["`exclude`", "'tail'"]),
    "empty include": (ARRAYS, {"include": []}, ValueError, ["`include` must not be empty"]),
    "kind of include": (ARRAYS, {"include": 1}, TypeError, ["`include`"]),
    "rename": (
        ARRAYS,
        {"rename": {"resnet": "backbone"}},
        ValueError,
        ["`rename` must lead from what is there, got 'resnet'", "'backbone/block1/kernel'"],
    ),
    "kind of rename": (ARRAYS, {"rename": "backbone"}, TypeError, ["`rename` must be a dict or"]),
    "renamed to": (ARRAYS, {"rename": {"head": None}}, TypeError, ["`rename`", "None"]),
    "renamed from": (ARRAYS, {"rename": {1: "head"}}, TypeError, ["`rename`", "int 1"]),
    "returns": (
        ARRAYS,
        {"rename": lambda name: None},
        TypeError,
        ["`rename` must return strings, got NoneType None for 'backbone/"],
    ),
}
WRONG_SOURCES: dict[str, tuple[Any, type[Exception], str]] = {
    "number": (3, TypeError, "`path_or_mapping` must be a string, a path or a dict, got int 3"),
    "bytes": (b"model.npz", TypeError, "`path_or_mapping` must be a string"),
    "list": ([("w", 1.0)], TypeError, "`path_or_mapping` must be a string"),
    "no file": ("nowhere.npz", FileNotFoundError, "nowhere.npz"),
    "no safetensors file": ("nowhere.safetensors", FileNotFoundError, "nowhere.safetensors"),
    "directory": (os.curdir, IsADirectoryError, "."),
    "twice": ({"a/b": 1.0, "a": {"b": 2.0}}, ValueError, "got 'a/b' twice"),
    "key": ({"a": {1: 1.0}}, TypeError, "`path_or_mapping['a'][1]` must have a string as key"),
    "text": (arrays_but(head_kernel="text"), TypeError, "`path_or_mapping['head/kernel']` must be"),
    "slices": (
        arrays_but(head_kernel=nc.IndexedSlices([1.0], [2], (3,))),
        TypeError,
        "`path_or_mapping['head/kernel']` must be dense",
    ),
    "objects": (
        arrays_but(head_kernel=np.array([1, None])),
        TypeError,
        "`path_or_mapping['head/kernel']` must be",
    ),
}


def refusal(
    store: nc.VariableStore, error: type[Exception], *arguments: Any, **options: Any
) -> str:
    before = bits(store)
    with pytest.raises(error) as raised:
        store.restore(*arguments, **options)
    assert bits(store) == before
    return str(raised.value)


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_changes_nothing(name: str, saved: Saver) -> None:
    arrays, options, error, texts = WRONG[name]
    message = refusal(model(), error, saved(arrays), **options)
    for text in texts:
        assert text in message


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", WRONG_SOURCES)
def test_sources_that_are_refused(name: str, strict: bool) -> None:
    source, error, text = WRONG_SOURCES[name]
    assert text in refusal(model(), error, source, strict=strict)


def test_an_overflow_that_is_an_error_comes_before_the_first_write(saved: Saver) -> None:
    source = saved({name: np.full(array.shape, 1e300) for name, array in ARRAYS.items()})
    with np.errstate(over="raise"):
        assert "overflow" in refusal(model(), FloatingPointError, source)


def test_a_variable_that_became_read_only(saved: Saver) -> None:
    store = model()
    store["head/kernel"].array.flags.writeable = False
    message = refusal(store, ValueError, saved(ARRAYS))
    assert "head/kernel: `self` must be writable" in message
    store.restore(saved(ARRAYS), exclude="head")


# -- Files that are damaged, or are none of ours.


def refused_file(path: Path) -> str:
    """Return what the error says of a file, after naming it."""
    text = refusal(model(), ValueError, path)
    opening = f"`path_or_mapping` must be an .npz or .safetensors file, got {str(path)!r}: "
    assert text.startswith(opening)
    return text.removeprefix(opening)


@pytest.mark.parametrize("form", FILES)
def test_a_file_cut_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    name, save = FILES[form]
    save(tmp_path / name, ARRAYS)
    whole = (tmp_path / name).read_bytes()
    for size in [*range(0, len(whole), 13), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:size])
        refused_file(tmp_path / name)


@pytest.mark.parametrize("form", ["numclip", "npz", "compressed npz"])
def test_no_flipped_bits_give_other_numbers(form: str, tmp_path: Path) -> None:
    name, save = FILES[form]
    save(tmp_path / name, ARRAYS)
    whole = (tmp_path / name).read_bytes()
    restored = []
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41
        (tmp_path / name).write_bytes(damaged)
        store = model()
        before = bits(store)
        try:
            store.restore(tmp_path / name)
        except ValueError:
            assert bits(store) == before
        else:
            restored.append(position)
            assert numbers(store) == dict.fromkeys(NAMES, 1.0)
    assert len(restored) < len(whole) / 7 / 2


def test_a_manifest_whose_name_is_damaged(tmp_path: Path) -> None:
    # As integers the bits of bfloat16 could be cast to float32.
    nc.save(tmp_path / "model", {name: np.ones(8, ml_dtypes.bfloat16) for name in NAMES})
    whole = (tmp_path / "model").read_bytes()
    store = nc.VariableStore.from_dict({name: np.zeros(8, np.float32) for name in NAMES})
    first, last = whole.index(b"numclip.json.npy"), whole.rindex(b"numclip.json.npy")
    for position in [*range(first, first + 16), *range(last, last + 16)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1
        (tmp_path / "model").write_bytes(damaged)
        refusal(store, ValueError, tmp_path / "model")


class Unpickled:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.trace,))


def zip_with(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


FOREIGN: dict[str, tuple[Callable[[Path, Any], Any], str]] = {
    "empty": (lambda path, _: path.write_bytes(b""), "not a zip file"),
    "text": (lambda path, _: path.write_text("weights\n" * 1000), "not a zip file"),
    "npy": (lambda path, _: path.write_bytes(b"\x93NUMPY\x01\x00"), "not a zip file"),
    "pickle": (lambda path, them: path.write_bytes(pickle.dumps(them)), "not a zip file"),
    "zip": (lambda path, _: zip_with(path, data="numbers"), "it holds no arrays"),
    "empty zip": (lambda path, _: zip_with(path), "it holds no arrays"),
    "no npy in an npz": (
        lambda path, _: zip_with(path, **{f"{name}.npy": "numbers" for name in NAMES}),
        f"entry ['{NAMES[0]}']: ",
    ),
    "objects": (
        lambda path, them: save_npz(path, ARRAYS | {NAMES[2]: them}),
        f"entry ['{NAMES[2]}']: Object arrays cannot be loaded",
    ),
    "objects under our manifest": (
        lambda path, them: save_npz(path, {"numclip.json": them} | ARRAYS),
        "Object arrays cannot be loaded",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_refused_and_never_unpickled(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    write, text = FOREIGN[name]
    write(tmp_path / "model.npz", np.array([Unpickled(str(trace))] * 3, object))
    assert text in refused_file(tmp_path / "model.npz")
    assert not trace.exists()


def test_objects_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    save_npz(tmp_path / "model.npz", ARRAYS | {"x": np.array([Unpickled(str(trace))] * 3, object)})
    assert model().restore(tmp_path / "model.npz").unused == ("x",)
    assert not trace.exists()


def test_a_cut_that_ends_with_a_whole_file(tmp_path: Path) -> None:
    inner, path = tmp_path / "inner.npz", tmp_path / "model.npz"
    save_npz(inner, ARRAYS)
    for save in (save_npz, save_numclip):
        save(path, {"inner": np.frombuffer(inner.read_bytes(), np.uint8), "x": np.zeros(3)})
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.index(inner.read_bytes()) + inner.stat().st_size])
        assert zipfile.is_zipfile(path)
        assert "it does not begin with its first member" in refused_file(path)


def test_safetensors_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    for content in (b"", b"text", 100 * b"\0", 100 * b"\xff"):
        path.write_bytes(content)
        refused_file(path)
    path.unlink()
    path.mkdir()
    refusal(model(), IsADirectoryError, path)


def test_without_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install safetensors" in refusal(model(), ImportError, path)


def test_halves_without_ml_dtypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = np.ones(4, ml_dtypes.bfloat16)
    for name, save in (FILES["numclip"], FILES["safetensors"]):
        save(tmp_path / name, {"w": half})
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    store = nc.VariableStore.from_dict({"w": np.zeros(4, np.float32)})
    for name in ("model", "model.safetensors"):
        assert "pip install ml_dtypes" in refusal(store, ImportError, tmp_path / name)


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    store = model()
    before = bits(store)
    for path in (tmp_path / "runs" / "model.npz", tmp_path):
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            nc.save(path, store)
    assert bits(store) == before
    assert os.listdir(tmp_path) == []


# -- The program that users of TensorFlow know.


def test_a_scope_is_held_still_as_in_tensorflow() -> None:
    store = nc.VariableStore()
    generator = np.random.default_rng(0)
    with store.scope("your_unchanged_scope_name"):
        w1 = store.variable("weights", generator.standard_normal((3, 4)))
    with store.scope("head"):
        w2 = store.variable("weights", generator.standard_normal((4, 1)))
        b2 = store.variable("bias", np.zeros(1))
    x, y = generator.standard_normal((8, 3)), generator.standard_normal((8, 1))
    step, max_grad_norm, lr = nc.Variable(0), 1.0, 0.1

    def loss() -> Any:
        return anp.sum((anp.tanh(x @ w1) @ w2 + b2 - y) ** 2)

    def get_variable_via_scope(scope_lst: list[str]) -> list[nc.Variable]:
        variables = []
        for scope in scope_lst:
            variables.extend(nc.trainable_variables(store, scope=scope))
        return variables

    held, first = w1.array.tobytes(), loss()
    for _ in range(20):
        trainable = nc.trainable_variables(store)
        for v in get_variable_via_scope(["your_unchanged_scope_name"]):
            trainable.remove(v)
        grads, _ = nc.clip_by_global_norm(nc.gradients(loss, trainable), max_grad_norm)
        nc.train.AdamOptimizer(lr).apply_gradients(zip(grads, trainable), global_step=step)  # noqa: B905
    assert trainable == [w2, b2]
    assert w1.array.tobytes() == held
    assert loss() < 0.5 * first
    assert step.value == 20
