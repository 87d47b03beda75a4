"""Filters choose whole components of names, and say when a pattern chooses nothing."""

import re
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numclip as nc

NAMES = ["layer1/weights", "layer1/bias", "layer10/weights", "layer1", "net/layer1", "v1.5/w", "b"]
LAYER1 = ["layer1/weights", "layer1/bias", "layer1"]


def named(names: list[Any]) -> list[nc.Variable]:
    return [nc.Variable([0.0], name=name) for name in names]


def names_of(variables: list[nc.Variable]) -> list[str | None]:
    return [variable.name for variable in variables]


def chosen(names: list[str], *patterns: Any, **options: Any) -> list[str]:
    return list(nc.filter_variables(dict.fromkeys(names), *patterns, **options))


PATTERNS: list[tuple[Any, list[str]]] = [
    # Scopes, by component and in this case.
    ("layer1", LAYER1),
    ("layer1/", LAYER1),
    ("layer1/weights", ["layer1/weights"]),
    ("net", ["net/layer1"]),
    ("net/layer1", ["net/layer1"]),
    ("v1.5", ["v1.5/w"]),
    ("v1.5.w", []),
    ("layer1.bias", ["layer1/bias"]),
    ("layer", []),
    ("Layer1", []),
    ("/layer1", []),
    ("layer1//bias", []),
    ("eights", []),
    ("v1", []),
    # Scopes with wildcards.
    ("layer*", [*LAYER1[:2], "layer10/weights", "layer1"]),
    ("layer?", LAYER1),
    ("layer[0-9]", LAYER1),
    ("layer[!1]", []),
    ("layer[!2-9]*", [*LAYER1[:2], "layer10/weights", "layer1"]),
    ("*/weights", ["layer1/weights", "layer10/weights"]),
    ("*", NAMES),
    ("*/*", [name for name in NAMES if "/" in name]),
    ("**/layer1", [*LAYER1, "net/layer1"]),
    ("**/bias", ["layer1/bias"]),
    ("**/b", ["b"]),
    ("**", NAMES),
    ("layer1/**", ["layer1/weights", "layer1/bias"]),
    ("v?.5", ["v1.5/w"]),
    ("*.w", ["v1.5/w"]),
    ("*eights", []),
    ("layer1*bias", []),
    ("layer[", []),
    # Regular expressions, from the beginning of the name.
    (re.compile("layer1"), NAMES[:4]),
    (re.compile("layer1$"), ["layer1"]),
    (re.compile("layer1/"), ["layer1/weights", "layer1/bias"]),
    (re.compile("bias"), []),
    (re.compile(".*bias"), ["layer1/bias"]),
    (re.compile("LAYER10", re.IGNORECASE), ["layer10/weights"]),
    (re.compile(""), NAMES),
    # Functions.
    (lambda name: name.endswith("weights"), ["layer1/weights", "layer10/weights"]),
    (re.compile("bias|10").search, ["layer1/bias", "layer10/weights"]),
    (lambda name: np.bool_(False), []),
    # Lists.
    (["layer10", "layer1/bias"], ["layer1/bias", "layer10/weights"]),
    (("b", re.compile("net"), "*/w", lambda name: name == "layer1"), NAMES[3:]),
    ({"b"}, ["b"]),
    (["layer1", "layer1/bias", "layer1"], LAYER1),
]
"""A pattern, and the names that it matches, where it need not match any."""


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS)
def test_patterns(pattern: Any, expected: list[str]) -> None:
    rest = [name for name in NAMES if name not in expected]
    assert chosen(NAMES, pattern, strict=False) == expected
    assert chosen(NAMES, exclude=pattern, strict=False) == rest
    if expected:
        assert chosen(NAMES, pattern) == expected
    else:
        for argument in ("include", "exclude"):
            with pytest.raises(ValueError, match=f"`{argument}` must match something"):
                chosen(NAMES, **{argument: pattern})
    variables = named([*NAMES, None])
    if isinstance(pattern, str | re.Pattern):
        assert names_of(nc.trainable_variables(variables, pattern)) == expected


PYTORCH = ["layer1.0.weight", "layer1.0.bias", "layer1.10.weight", "layer10.0.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("layer1", PYTORCH[:3]),
        ("layer1.0", PYTORCH[:2]),
        ("layer1/0", PYTORCH[:2]),
        ("layer1.1", []),
        ("layer?.*.weight", ["layer1.0.weight", "layer1.10.weight"]),
        ("**/bias", ["layer1.0.bias", "fc.bias"]),
        ("**.bias", ["layer1.0.bias", "fc.bias"]),
        ("*.bias", ["fc.bias"]),
        (re.compile(r"layer\d\.0"), PYTORCH[:2]),
        (lambda name: name.endswith(".bias"), ["layer1.0.bias", "fc.bias"]),
    ],
)
def test_names_with_dots(pattern: Any, expected: list[str]) -> None:
    def named_parameters() -> Iterator[tuple[str, Any]]:
        yield from zip(PYTORCH, range(5), strict=True)

    pairs = [(name, PYTORCH.index(name)) for name in expected]
    assert nc.filter_variables(named_parameters(), pattern, strict=False) == pairs


def test_include_comes_first_then_exclude() -> None:
    assert chosen(NAMES, "layer1", "**/bias") == ["layer1/weights", "layer1"]
    assert chosen(NAMES, ["layer1", "b"], ["layer1/weights", "**/bias"]) == ["layer1", "b"]
    assert chosen(NAMES, "layer1/bias", "layer1") == []
    # It matches something, though nothing that is included.
    assert chosen(NAMES, "layer1", "net") == LAYER1


class Keras:
    def __init__(self, name: str | None) -> None:
        self.name = name


def test_what_is_given_comes_back_in_its_kind_and_order() -> None:
    store = nc.VariableStore()
    a, b = store.variable("a/w", 1.0), store.variable("b/w", 2.0, trainable=False)
    assert nc.filter_variables(store, "a") == [a]
    assert nc.filter_variables(store) == [a, b]
    assert nc.filter_variables([b, a], exclude="c", strict=False) == [b, a]
    assert nc.filter_variables(iter((b, a, b)), "b") == [b, b]
    for mapping in ({"x": b, "a/b": a}, MappingProxyType({"x": b, "a/b": a})):
        assert nc.filter_variables(mapping, "a") == {"a/b": a}
        assert list(nc.filter_variables(mapping).items()) == [("x", b), ("a/b", a)]
    pairs = [("a.0", 1), ("b", None), ("a.0", 3)]
    assert nc.filter_variables(pairs, "a") == [("a.0", 1), ("a.0", 3)]
    foreign = [Keras("dense/kernel:0"), Keras("output/kernel:0"), Keras(None)]
    assert nc.filter_variables(foreign, "dense") == foreign[:1]
    assert nc.filter_variables([]) == []
    assert nc.filter_variables({}) == {}


def test_a_mapping_goes_by_its_keys() -> None:
    variables = {"here": nc.Variable([0.0], name="there")}
    assert nc.filter_variables(variables, "here") == variables
    assert nc.trainable_variables(variables, "here") == list(variables.values())
    assert nc.trainable_variables(variables, "there") == []


def test_variables_without_a_name() -> None:
    nameless, w = nc.Variable([0.0]), nc.Variable([0.0], name="w")
    assert nc.filter_variables([nameless, w]) == [nameless, w]
    assert nc.filter_variables([nameless, w], "*") == [w]
    assert nc.filter_variables([w, nameless], lambda name: name == "w") == [w]
    assert nc.filter_variables([nameless, w], exclude="w") == [nameless]


def test_trainable_variables_of_a_store() -> None:
    store = nc.VariableStore()
    with store.scope("layer1"):
        w = store.variable("w", [0.0])
        store.variable("steps", 0, trainable=False)
    b = store.variable("b", [0.0])
    assert nc.trainable_variables(store) == [w, b]
    assert nc.trainable_variables(store, "layer1") == [w]
    assert nc.trainable_variables(store, "") == [w, b]
    assert nc.trainable_variables(store, "layer2") == []


# -- The rule, beside one that is slow and plain.

components = st.sampled_from(["a", "b", "ab", "a1", "a.b", ".", "[", "*", "-", "\n", "ü"])
paths = st.lists(components, min_size=1, max_size=4)
globs = st.lists(
    components | st.sampled_from(["*", "**", "?", "a*", "*b*", "[ab]", "[!a]*", "[0-9]", "a**1"]),
    min_size=1,
    max_size=4,
)


def begins_with(path: list[str], glob: list[str]) -> bool:
    """Tell whether the first components of a path, or all, are as in the glob."""
    if not glob:
        return True
    if glob[0] == "**" and len(glob) > 1 and begins_with(path, glob[1:]):
        return True
    if not path:
        return False
    if glob[0] == "**" and len(glob) > 1:
        return begins_with(path[1:], glob)
    return fnmatchcase(path[0], glob[0]) and begins_with(path[1:], glob[1:])


def matches(name: str, glob: str) -> bool:
    path = (name if "/" in name else name.replace(".", "/")).split("/")
    plain = glob.rstrip("/")
    ways = {plain, plain.replace(".", "/").rstrip("/") or plain}
    return any(begins_with(path, way.split("/")) for way in ways)


@given(st.lists(paths.map("/".join), max_size=8), globs.map("/".join))
def test_scopes_and_globs_beside_a_plain_rule(names: list[str], glob: str) -> None:
    expected = [name for name in dict.fromkeys(names) if matches(name, glob)]
    assert chosen(names, glob, strict=False) == expected


@given(st.lists(paths.map(".".join), max_size=8), globs.map(".".join))
def test_names_with_dots_beside_a_plain_rule(names: list[str], glob: str) -> None:
    expected = [name for name in dict.fromkeys(names) if matches(name, glob)]
    assert chosen(names, glob, strict=False) == expected


patterns = globs.map("/".join) | st.sampled_from(["a", re.compile("a"), len])


@given(
    st.lists(paths.map("/".join), max_size=12),
    st.none() | st.lists(patterns, min_size=1, max_size=3),
    st.lists(patterns, min_size=1, max_size=3),
)
def test_a_pattern_parts_what_is_included(names: list[str], include: Any, pattern: Any) -> None:
    included = chosen(names, include, strict=False)
    inside = chosen(included, pattern, strict=False)
    outside = chosen(names, include, pattern, strict=False)
    assert not set(inside) & set(outside)
    assert sorted(inside + outside) == sorted(included)
    assert inside == [name for name in included if name in inside]
    either = {name for each in pattern for name in chosen(names, each, strict=False)}
    assert set(chosen(names, pattern, strict=False)) == either


# -- Errors.


def test_all_patterns_that_match_nothing_are_named() -> None:
    typos = ["layer1", "lyer2", re.compile("heads"), "blok*/bias"]
    with pytest.raises(ValueError) as raised:
        chosen(NAMES, typos)
    text = str(raised.value)
    assert "`include` must match something, got" in text
    assert "'lyer2'" in text and "re.compile('heads')" in text and "'blok*/bias'" in text
    assert "'layer1'," not in text.partition("names are")[0]
    assert "the names are 'layer1/weights', 'layer1/bias', 'layer10/weights' and 4 more" in text
    assert chosen(NAMES, typos, strict=False) == LAYER1
    with pytest.raises(ValueError, match="the names are none"):
        chosen([], "layer1")


REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    (NAMES, "", ValueError, "`{}` must not be empty, got ''"),
    (NAMES, "/", ValueError, "`{}` must not be empty, got '/'"),
    (NAMES, [], ValueError, "`{}` must not be empty, got []"),
    (NAMES, ["b", ""], ValueError, "`{}[1]` must not be empty, got ''"),
    (NAMES, "layer[9-0]", ValueError, "`{}` must match something"),
    (NAMES, 1, TypeError, "`{}` must be a string"),
    (NAMES, b"b", TypeError, "`{}` must be a string"),
    (NAMES, re.compile(b"b"), TypeError, "`{}` must be a string"),
    (NAMES, ["b", None], TypeError, "`{}[1]` must be a string"),
    (NAMES, [["b"]], TypeError, "`{}[0]` must be a string"),
]


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize(("names", "pattern", "error", "text"), REFUSED)
def test_patterns_that_are_refused(
    names: list[str], pattern: Any, error: type[Exception], text: str, argument: str
) -> None:
    with pytest.raises(error, match=re.escape(text.format(argument))):
        chosen(names, **{argument: pattern})


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (nc.Variable([1.0, 2.0]), "`variables` must be a list of Variables"),
        (3, "`variables` must be a list of Variables"),
        (["w"], "`variables[0]` must be a Variable, or a pair"),
        ([nc.Variable(1.0), np.zeros(2)], "`variables[1]` must be a Variable, or a pair"),
        ([("w", 1, 2)], "`variables[0]` must be a Variable, or a pair"),
        ([(1, "w")], "`variables[0]` must be a Variable, or a pair"),
        ({1: "w"}, "`variables` must have strings as keys, got int 1"),
    ],
)
def test_what_has_no_names_is_refused(variables: Any, text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        nc.filter_variables(variables, "w")


def test_a_scope_that_is_refused() -> None:
    for scope in (3, b"w", re.compile(b"w"), ["w"], len):
        with pytest.raises(TypeError, match="`scope` must be a string or a compiled regular"):
            nc.trainable_variables(named(["w"]), scope)


def test_trainable_variables_are_variables() -> None:
    with pytest.raises(TypeError, match=r"`variables\['w'\]` must be a Variable, got ndarray"):
        nc.trainable_variables({"w": np.zeros(2)})
    with pytest.raises(TypeError, match="`variables` must be a list of Variables"):
        nc.trainable_variables(nc.Variable([1.0]))


# -- Time.


def count_calls(function: Callable[[], Any]) -> int:
    """Return how many functions it calls, of Python's and of C's."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "pattern", ["block7", "block*/kernel", [f"block{i}" for i in range(300)]], ids=str
)
def test_the_work_is_linear_in_the_number_of_variables(pattern: Any) -> None:
    def work(size: int) -> int:
        variables = named([f"block{i}/{leaf}" for i in range(size) for leaf in ("kernel", "bias")])
        return count_calls(lambda: nc.filter_variables(variables, pattern, strict=False))

    work(10)
    small, large = work(1_000), work(4_000)
    assert large < 4.1 * small
