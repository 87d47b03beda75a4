"""The public names are those listed here, and each says what a reader needs."""

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest

import numclip as nc

PUBLIC = [
    "GradientHistory",
    "IndexedSlices",
    "RestoreReport",
    "Variable",
    "VariableStore",
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "clip_gradient",
    "custom_gradient",
    "filter_variables",
    "gather",
    "get_num_threads",
    "global_norm",
    "gradient_override_map",
    "gradients",
    "gradients_function",
    "load",
    "nn",
    "register_gradient",
    "reverse_gradient",
    "save",
    "set_num_threads",
    "sign",
    "stop_gradient",
    "straight_through",
    "summarize_gradients",
    "train",
    "trainable_variables",
    "value_and_gradients",
]
PUBLIC_IN_NN = ["conv2d", "conv2d_backprop_filter", "conv2d_backprop_input"]
PUBLIC_IN_TRAIN = [
    "AdadeltaOptimizer",
    "AdagradDAOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "AdamWOptimizer",
    "FtrlOptimizer",
    "GradientAccumulator",
    "GradientDescentOptimizer",
    "GroupedOptimizer",
    "MomentumOptimizer",
    "Optimizer",
    "ProximalAdagradOptimizer",
    "ProximalGradientDescentOptimizer",
    "RMSPropOptimizer",
    "StepResult",
    "cosine_decay",
    "cosine_decay_restarts",
    "exponential_decay",
    "inverse_time_decay",
    "linear_cosine_decay",
    "natural_exp_decay",
    "noisy_linear_cosine_decay",
    "piecewise_constant",
    "polynomial_decay",
]


def members_of(owner: type[Any]) -> list[str]:
    """Return what a class has itself, or from classes that are not public."""
    return [
        member
        for base in owner.__mro__
        if base is owner or base.__module__ == "numclip.train._minimizer"
        for member in vars(base)
    ]


def documented_objects() -> list[tuple[str, Any]]:
    """Return the public functions, classes and methods, each with its name."""
    named = [(name, getattr(nc, name)) for name in PUBLIC if name not in ("nn", "train")]
    named += [(f"nn.{name}", getattr(nc.nn, name)) for name in PUBLIC_IN_NN]
    named += [(f"train.{name}", getattr(nc.train, name)) for name in PUBLIC_IN_TRAIN]
    members = [
        (f"{name}.{member}", inspect.getattr_static(owner, member))
        for name, owner in named
        if inspect.isclass(owner)
        for member in members_of(owner)
        if not member.startswith("_") and member not in getattr(owner, "_fields", ())
    ]
    is_function = (staticmethod, classmethod, property)
    return named + [
        (name, member)
        for name, member in members
        if inspect.isfunction(member) or isinstance(member, is_function)
    ]


# Names that have no counterpart to refer to.
OUR_OWN = (
    "GradientHistory",
    "IndexedSlices",
    "RestoreReport",
    "Variable",
    "set_num_threads",
    "train.StepResult",
)
DOCUMENTED = documented_objects()
names = [name for name, _ in DOCUMENTED]


def test_public_names() -> None:
    assert sorted(nc.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(nc))
    assert sorted(name for name in vars(nc.nn) if not name.startswith("_")) == PUBLIC_IN_NN
    assert sorted(name for name in vars(nc.train) if not name.startswith("_")) == PUBLIC_IN_TRAIN


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'clip_by_rate'"):
        nc.clip_by_rate  # noqa: B018


@pytest.mark.parametrize(("name", "member"), DOCUMENTED, ids=names)
def test_docstring(name: str, member: Any) -> None:
    text = inspect.getdoc(member)
    assert text, f"{name} has no docstring"
    first = text.splitlines()[0]
    assert first.endswith("."), first
    if isinstance(member, property):
        return
    assert "Examples\n--------\n>>> " in text, f"{name} has no example"
    if name == "train.Optimizer":
        return
    function = member.__func__ if isinstance(member, staticmethod | classmethod) else member
    parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    if parameters:
        assert "Parameters\n----------" in text
        assert "References\n----------" in text or name.startswith(OUR_OWN)
    missing = [p for p in parameters if p not in text]
    assert not missing, f"{name} does not document {missing}"


@pytest.mark.parametrize("module", ["autograd", "rich", "matplotlib", "ml_dtypes", "safetensors"])
def test_clipping_imports_only_numpy_and_numba(module: str) -> None:
    # Numba itself imports SciPy, where it is installed.
    program = f"import numclip, sys; print({module!r} in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_typed() -> None:
    package = importlib.resources.files("numclip")
    assert package.joinpath("py.typed").is_file()
