"""numclip gives the values that TensorFlow 2.21.0 gave (tests/golden/make.py made them)."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.archive import Archive, Slices, agrees, gradient_at, leaves

import numclip as nc

GOLDEN = Archive.load(Path(__file__).parent / "golden" / "tensorflow.npz")
OPTIMIZER_CASES = [name for name, case in GOLDEN.cases.items() if "variables" in case["arguments"]]
FUNCTION_CASES = [name for name in GOLDEN.cases if name not in OPTIMIZER_CASES]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "clip_by_value": nc.clip_by_value,
    "clip_by_norm": nc.clip_by_norm,
    # TensorFlow makes slices dense here.
    "clip_by_average_norm": lambda t, clip_norm: dense(nc.clip_by_average_norm(t, clip_norm)),
    "clip_by_global_norm": nc.clip_by_global_norm,
    "global_norm": nc.global_norm,
    "to_dense": lambda slices: slices.to_dense(),
    "coalesce": lambda slices: slices.coalesce(),
}


def dense(value: Any) -> Any:
    return value.to_dense() if isinstance(value, nc.IndexedSlices) else value


def to_numclip(value: Any) -> Any:
    match value:
        case Slices():
            return nc.IndexedSlices(*value)
        case list():
            return [to_numclip(x) for x in value]
        case _:
            return value


def from_numclip(value: Any) -> Any:
    match value:
        case nc.IndexedSlices():
            return Slices(value.values, value.indices, value.dense_shape)
        case list() | tuple():
            return [from_numclip(x) for x in value]
        case _:
            return value


def assert_agrees(name: str, actual: Any) -> None:
    expected, found = dict(leaves(GOLDEN.output(name))), dict(leaves(actual))
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        got = found[path]
        if isinstance(got, np.float64):  # a norm, of the tensors' dtype in TensorFlow
            got = got.astype(value.dtype)
        assert agrees(got, value, *GOLDEN.agreement(name)), f"{path}: {got!r} for {value!r}"


@pytest.fixture(autouse=True)
def bfloat16(request: pytest.FixtureRequest) -> None:
    if "/bfloat16/" in request.node.callspec.params["name"]:
        pytest.importorskip("ml_dtypes")


@pytest.mark.parametrize("name", FUNCTION_CASES)
def test_function(name: str) -> None:
    arguments = {key: to_numclip(x) for key, x in GOLDEN.arguments(name).items()}
    output = FUNCTIONS[GOLDEN.cases[name]["function"]](**arguments)
    assert_agrees(name, from_numclip(output))


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_optimizer(name: str) -> None:
    arguments = GOLDEN.arguments(name)
    arrays = [array.copy() for array in arguments["variables"]]
    variables = [nc.Variable(array) for array in arrays]
    constructor = getattr(nc.train, GOLDEN.cases[name]["function"])
    hyperparameters, global_step = arguments["hyperparameters"], nc.Variable(0)
    if "global_step" in inspect.signature(constructor).parameters:
        hyperparameters["global_step"] = global_step
    optimizer = constructor(**hyperparameters)
    history = []
    for step in range(max(arguments["steps_kept"])):
        gradients = [to_numclip(gradient_at(g, step)) for g in arguments["gradients"]]
        optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step)
        history.append([array.copy() for array in arrays])
    kept = [history[step - 1] for step in arguments["steps_kept"]]
    slots = {
        slot: [np.asarray(optimizer.get_slot(variable, slot)) for variable in variables]
        for slot in GOLDEN.output(name)["slots"]
    }
    values = [np.stack(x) for x in zip(*kept, strict=True)]
    assert_agrees(name, {"variables": values, "slots": slots})
