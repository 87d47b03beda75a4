"""Make the golden values with TensorFlow, or check that TensorFlow still gives them.

    python tests/golden/make.py OUTPUT.npz
    python tests/golden/make.py --check tests/golden/tensorflow.npz

A function's cases are one table of arguments, an optimizer is one row of OPTIMIZERS.
What numclip does otherwise than TensorFlow on purpose has no case here. AdamW, which TensorFlow 1
does not have, is Keras's.
"""

import argparse
import inspect
import itertools
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from archive import Archive, Slices, agrees, gradient_at, leaves
from tensorflow.python.training.optimizer import _deduplicate_indexed_slices

Table = dict[str, dict[str, Any]]

BFLOAT16 = tf.bfloat16.as_numpy_dtype
HALVES = (np.float16, BFLOAT16)
SINGLES = (np.float32, np.float64)
FLOATS = HALVES + SINGLES
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)

# 90 ulp of float64 are 2e-14. TensorFlow rounds a half's norm, its reciprocal and the scale to the
# half type: up to 3 ulp measured against float64 norms and truncated products.
ULPS = {np.float16: 4, BFLOAT16: 4, np.float32: 6, np.float64: 90}


def normal(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return normal values that depend on nothing but the shape, so that the cases share them.

    The long ones repeat themselves, so that the file stays small.
    """
    generator = np.random.default_rng(zlib.crc32(repr(shape).encode()))
    size = math.prod(shape)
    values = generator.standard_normal(251 if size > 4000 else size)
    return np.resize(values, shape).astype(dtype)


def eighths(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return multiples of 1/8, whose sums are exact in every dtype."""
    return np.rint(8 * np.clip(normal(shape, np.float64), -2, 2)).astype(dtype) / dtype(8)


def replaced(array: np.ndarray, *positions_and_values: tuple[int, float]) -> np.ndarray:
    array = array.copy()
    for position, value in positions_and_values:
        array.flat[position] = value
    return array


def slices(shape: tuple[int, ...], dtype: Any, dense_shape: tuple[int, ...] | None) -> Slices:
    """Return slices with duplicates: of every four rows the last repeats the first."""
    rows = np.arange(shape[0])[::-1] * 2
    rows[3::4] = rows[0::4][: len(rows[3::4])]
    return Slices(normal(shape, dtype), rows, dense_shape)


def value_table(dtype: Any) -> Table:
    t = normal((4, 6), dtype)
    hostile = replaced(t, *enumerate([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.3, -0.7]))
    low, high = normal((2, 4, 6), dtype)
    row, column = np.linspace(-0.5, 0.5, 6).astype(dtype), np.full((4, 1), 0.4, dtype)
    scalars = {"clip_value_min": -0.7, "clip_value_max": 0.3}

    def bounds(clip_value_min: Any, clip_value_max: Any, tensor: Any = hostile) -> dict[str, Any]:
        return {"t": tensor, "clip_value_min": clip_value_min, "clip_value_max": clip_value_max}

    return {
        "scalars": bounds(-0.7, 0.3),
        "integers": bounds(-1, 1),
        "equal": bounds(0.25, 0.25),
        "infinite-bounds": bounds(-np.inf, np.inf),
        "infinite-maximum": bounds(0.1, np.inf),
        "nan-minimum": bounds(np.nan, 0.5),
        "nan-maximum": bounds(-0.5, np.nan),
        "scalar-arrays": bounds(np.array(-0.7, dtype), np.array(0.3, dtype)),
        "row-maximum": bounds(-0.7, row),
        "column-minimum": bounds(-column, 0.9),
        "column-row": bounds(-column, np.abs(row)),
        "full": bounds(-np.abs(low), np.abs(high)),
        "minimum-above-maximum-somewhere": bounds(low, high),
        "nan-in-array": bounds(replaced(-np.abs(low), (7, np.nan)), 0.5),
        "empty": bounds(-0.7, 0.3, normal((0,), dtype)),
        "empty-2d": bounds(-0.7, 0.3, normal((2, 0, 3), dtype)),
        "empty-row": bounds(-0.7, row[:3], normal((0, 3), dtype)),
        "0-d": bounds(-0.7, 0.3, normal((), dtype)),
        "one-element": bounds(-0.01, 0.01, normal((1,), dtype)),
        "size-129": bounds(-0.7, 0.3, normal((129,), dtype)),
        "slices": {"t": slices((5, 3), dtype, (10, 3)), **scalars},
        "slices-no-shape": {"t": slices((5, 3), dtype, None), **scalars},
        "slices-row": bounds(-0.7, row[:3], slices((5, 3), dtype, (10, 3))),
    }


def integer_table(dtype: Any) -> Table:
    limits = np.iinfo(dtype)
    t = np.array([limits.min, limits.min + 1, 0, 1, 5, 7, limits.max - 1, limits.max], dtype)
    low, high = np.array([3, 0, 1, 4, 0, 9, 2, 5], dtype), np.array([6, 9, 0, 8, 3, 5, 2, 7], dtype)
    return {
        "scalars": {"t": t, "clip_value_min": 1, "clip_value_max": 6},
        "limits": {"t": t, "clip_value_min": limits.min, "clip_value_max": limits.max},
        "minimum-above-maximum-somewhere": {"t": t, "clip_value_min": low, "clip_value_max": high},
        "slices": {
            "t": Slices(t, np.array([5, 1, 5, 0, 2, 3, 1, 1]), (6,)),
            "clip_value_min": 2,
            "clip_value_max": 5,
        },
    }


def norm_table(dtype: Any) -> Table:
    t = normal((3, 4, 2), dtype)
    a_zero_slice = t.copy()
    a_zero_slice[1] = 0
    limits = np.array([0.5, 2.0, 100.0]).astype(dtype)
    table = {
        "above": {"t": t, "clip_norm": 0.7},
        "below": {"t": t, "clip_norm": 777.7},
        "below-inexact-reciprocal": {"t": t / dtype(64), "clip_norm": 0.21},
        "at-the-limit": {"t": np.array([3, 4], dtype), "clip_norm": 5.0},
        "just-below": {"t": np.array([3, 4], dtype), "clip_norm": 5.0625},
        "just-above": {"t": np.array([3, 4], dtype), "clip_norm": 4.9375},
        "integer-limit": {"t": t, "clip_norm": 1},
        "scalar-array-limit": {"t": t, "clip_norm": np.array(0.7, dtype)},
        "zero-limit": {"t": t, "clip_norm": 0.0},
        "zeros": {"t": np.zeros((3, 2), dtype), "clip_norm": 1.0},
        "zero-slice": {"t": a_zero_slice, "clip_norm": 0.7, "axes": [1, 2]},
        "nan": {"t": replaced(t, (5, np.nan)), "clip_norm": 0.7},
        "nan-slice": {"t": replaced(t, (5, np.nan)), "clip_norm": 0.7, "axes": -1},
        "limit-per-slice": {"t": t, "clip_norm": limits.reshape(3, 1, 1), "axes": [1, 2]},
        "limit-per-column": {"t": t, "clip_norm": limits[:2], "axes": [0, 1]},
        "limit-0-d-axes": {"t": t, "clip_norm": np.array(0.7, dtype), "axes": 1},
        "empty": {"t": normal((0,), dtype), "clip_norm": 1.0},
        "empty-2d": {"t": normal((2, 0), dtype), "clip_norm": 1.0, "axes": 1},
        "0-d": {"t": normal((), dtype), "clip_norm": 0.125},
        "one-element": {"t": normal((1,), dtype), "clip_norm": 0.01},
        "slices": {"t": slices((5, 3), dtype, (10, 3)), "clip_norm": 0.7},
        "slices-no-shape": {"t": slices((5, 3), dtype, None), "clip_norm": 0.7},
        "slices-below": {"t": slices((5, 3), dtype, (10, 3)), "clip_norm": 64.0},
        "slices-axis": {"t": slices((5, 3), dtype, (10, 3)), "clip_norm": 0.7, "axes": 1},
        "slices-nan": {
            "t": Slices(replaced(normal((4,), dtype), (1, np.nan)), np.arange(4), (8,)),
            "clip_norm": 0.7,
        },
    }
    for axes in (0, 1, -1, -3, [0, 2], [2, 0], [0, -1], [0, 1, 2], []):
        label = "-".join(map(str, np.atleast_1d(axes).astype(int))) or "none"
        table[f"axes-{label}"] = {"t": t, "clip_norm": 0.7, "axes": axes}
    for size in (127, 128, 129, 4095, 4097):
        table[f"size-{size}"] = {"t": normal((size,), dtype), "clip_norm": 0.21}
    if dtype in SINGLES:
        table["large"] = {"t": t * dtype(1e15), "clip_norm": 3e14}
        table["small"] = {"t": t * dtype(1e-13), "clip_norm": 3e-14}
        table["uneven"] = {"t": replaced(t, (5, 1e9), (6, -1e-9)), "clip_norm": 0.7}
    return table


def average_norm_table(dtype: Any) -> Table:
    t = normal((3, 4, 2), dtype)
    return {
        "above": {"t": t, "clip_norm": 0.07},
        "below": {"t": t, "clip_norm": 7.77},
        "at-the-limit": {"t": np.array([3, 4], dtype), "clip_norm": 2.5},
        "just-above": {"t": np.array([3, 4], dtype), "clip_norm": 2.4375},
        "integer-limit": {"t": t * dtype(50), "clip_norm": 1},
        "zero-limit": {"t": t, "clip_norm": 0.0},
        "zeros": {"t": np.zeros((3, 2), dtype), "clip_norm": 1.0},
        "nan": {"t": replaced(t, (5, np.nan)), "clip_norm": 0.07},
        "empty": {"t": normal((0,), dtype), "clip_norm": 1.0},
        "0-d": {"t": normal((), dtype), "clip_norm": 0.125},
        "size-129": {"t": normal((129,), dtype), "clip_norm": 0.021},
        "size-4097": {"t": normal((4097,), dtype), "clip_norm": 0.0077},
        "slices": {
            "t": Slices(normal((4, 3), dtype), np.array([7, 0, 4, 2]), (10, 3)),
            "clip_norm": 0.07,
        },
    }


def tensor_lists(dtype: Any) -> dict[str, list[Any]]:
    shapes = ((3, 4, 2), (129,), ())
    tensors = [normal(shape, dtype) for shape in shapes]
    return {
        "tensors": tensors,
        "none-entries": [None, tensors[0], None, tensors[1]],
        "all-none": [None, None],
        "no-entries": [],
        "one-tensor": [normal((1,), dtype)],
        "three-four": [np.array([3], dtype), np.array([[4]], dtype)],
        "empty-tensors": [normal((0,), dtype), tensors[0], normal((2, 0), dtype)],
        "zeros": [np.zeros((3, 2), dtype), np.zeros((4,), dtype)],
        "slices": [tensors[0], slices((5, 3), dtype, (10, 3)), slices((4,), dtype, None)],
        "nan": [tensors[0], replaced(normal((4,), dtype), (2, np.nan))],
        "infinity": [tensors[0], replaced(normal((4,), dtype), (2, np.inf))],
        "negative-infinity": [replaced(normal((4,), dtype), (0, -np.inf)), tensors[0], None],
        "many": [normal((size,), dtype) for size in range(1, 12)],
        "lanes": [normal((size,), dtype) for size in (127, 128, 129)],
        "chunks": [normal((size,), dtype) for size in (4095, 4097)],
    }


def global_norm_table(dtype: Any) -> Table:
    return {label: {"t_list": tensors} for label, tensors in tensor_lists(dtype).items()}


def clip_by_global_norm_table(dtype: Any) -> Table:
    lists = tensor_lists(dtype)
    limits = {
        **dict.fromkeys(lists, (0.7,)),
        "tensors": (0.0, 0.7, 84.0, 777.7),  # 84 * fl(1 / 84) is not 1 in float32
        "three-four": (4.9375, 5.0, 5.0625),
        "slices": (0.7, 84.0),
    }
    table = {
        f"{label}-limit-{limit}": {"t_list": lists[label], "clip_norm": limit}
        for label in lists
        for limit in limits[label]
    }
    some = [None, *lists["slices"][:2]]
    for norm in (dtype(3), dtype(0.5), dtype(0), dtype(np.inf), dtype(np.nan), np.float64(3)):
        label = f"use-norm-{norm.dtype.name}-{float(norm)}"
        table[label] = {"t_list": some, "clip_norm": 0.7, "use_norm": norm}
    return table


def mixed_table(dtype: Any) -> Table:
    tensors = [normal((3, 4, 2), np.float32), normal((129,), dtype)]
    return {"mixed-dtypes": {"t_list": tensors, "clip_norm": 0.7, "use_norm": np.float64(11.5)}}


def slices_table(dtype: Any) -> Table:
    rows = np.array([5, 2, 5, 1, 2, 5])
    table = {
        "rows": Slices(eighths((6, 3), dtype), rows, (7, 3)),
        "scalars": Slices(eighths((6,), dtype), rows, (7,)),
        "matrices": Slices(eighths((6, 2, 3), dtype), rows, (7, 2, 3)),
        "int32-rows": Slices(eighths((6, 3), dtype), rows.astype(np.int32), (7, 3)),
        "no-duplicates": Slices(normal((4, 3), dtype), np.array([3, 0, 5, 1]), (7, 3)),
        "no-rows": Slices(normal((0, 3), dtype), rows[:0], (7, 3)),
        "rounded": Slices(np.abs(normal((6, 3), dtype)), rows, (7, 3)),
        "nan-and-infinity": Slices(
            replaced(normal((6, 3), dtype), (0, np.nan), (4, np.inf), (10, -np.inf)), rows, (7, 3)
        ),
    }
    return {label: {"slices": value} for label, value in table.items()}


def deduplicate(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    values, indices = _deduplicate_indexed_slices(slices.values, slices.indices)
    return tf.IndexedSlices(values, indices, slices.dense_shape)


def to_dense(slices: tf.IndexedSlices) -> tf.Tensor:
    return tf.convert_to_tensor(slices)


FUNCTIONS: tuple[tuple[str, Callable[..., Any], Callable[[Any], Table], tuple[Any, ...]], ...] = (
    ("clip_by_value", tf.clip_by_value, value_table, FLOATS),
    ("clip_by_value", tf.clip_by_value, integer_table, INTEGERS),
    ("clip_by_norm", tf.clip_by_norm, norm_table, FLOATS),
    ("clip_by_average_norm", tf.compat.v1.clip_by_average_norm, average_norm_table, (np.float32,)),
    ("clip_by_global_norm", tf.clip_by_global_norm, clip_by_global_norm_table, FLOATS),
    ("clip_by_global_norm", tf.clip_by_global_norm, mixed_table, (np.float64,)),
    ("global_norm", tf.linalg.global_norm, global_norm_table, FLOATS),
    ("to_dense", to_dense, slices_table, FLOATS),
    ("coalesce", deduplicate, slices_table, FLOATS),
)
EXACT = "clip_by_value"


class Optimizer(NamedTuple):
    name: str
    arguments: dict[str, Any]
    slots: tuple[str, ...]
    ulps: float  # of the largest element, for dense float32
    dtypes: tuple[Any, ...] = SINGLES


GRADIENT_DESCENT = partial(Optimizer, "GradientDescentOptimizer", slots=(), ulps=0)
MOMENTUM = partial(Optimizer, "MomentumOptimizer", slots=("momentum",), ulps=0)
ADAM = partial(Optimizer, "AdamOptimizer", slots=("m", "v"), ulps=0)
RMSPROP = partial(Optimizer, "RMSPropOptimizer", slots=("rms", "momentum"), ulps=0)
CENTERED_RMSPROP = partial(RMSPROP, slots=("rms", "momentum", "mg"))
# 84 ulp of float32 are 1e-5 and 839 are 1e-4: TensorFlow multiplies by its own reciprocal root.
ADAGRAD = partial(Optimizer, "AdagradOptimizer", slots=("accumulator",), ulps=84)
ADADELTA = partial(Optimizer, "AdadeltaOptimizer", slots=("accum", "accum_update"), ulps=84)
PROXIMAL_DESCENT = partial(Optimizer, "ProximalGradientDescentOptimizer", slots=(), ulps=84)
PROXIMAL_ADAGRAD = partial(Optimizer, "ProximalAdagradOptimizer", slots=("accumulator",), ulps=84)
ADAGRAD_DA = partial(
    Optimizer,
    "AdagradDAOptimizer",
    slots=("gradient_accumulator", "gradient_squared_accumulator"),
    ulps=84,
)
FTRL = partial(Optimizer, "FtrlOptimizer", slots=("accum", "linear"), ulps=839)
# Keras raises the betas to the step's power, and rounds 1 - beta from float64: of betas that are
# sums of few powers of two there is nothing to round. In float64 its rate would still be float32.
ADAMW = partial(Optimizer, "AdamWOptimizer", slots=("m", "v"), ulps=8, dtypes=(np.float32,))

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
OPTIMIZERS = (
    GRADIENT_DESCENT({"learning_rate": 0.1}),
    MOMENTUM({"learning_rate": 0.1, "momentum": 0.9}),
    MOMENTUM({"learning_rate": 0.1, "momentum": 0.0}),
    MOMENTUM({"learning_rate": 0.1, "momentum": 0.9, "use_nesterov": True}),
    MOMENTUM({"learning_rate": 0.01, "momentum": 1.0, "use_nesterov": True}),
    ADAM({}),
    ADAM({"beta1": 0.5}),
    ADAM({"beta1": 0.0, "beta2": 0.0}),
    ADAM({"learning_rate": 0.05, "epsilon": 0.1}),
    ADAMW({"beta1": 0.875, "beta2": 0.96875}),
    ADAMW({"learning_rate": 0.05, "weight_decay": 0.5, "beta1": 0.5, "beta2": 0.875}),
    ADAMW({"weight_decay": 0.0, "beta1": 0.875, "beta2": 0.96875, "epsilon": 0.1}),
    RMSPROP({"learning_rate": 0.01}),
    RMSPROP({"learning_rate": 0.01, "momentum": 0.9}),
    RMSPROP({"learning_rate": 0.1, "decay": 0.0, "epsilon": 0.1}),
    CENTERED_RMSPROP({"learning_rate": 0.01, "centered": True}),
    CENTERED_RMSPROP({"learning_rate": 0.01, "momentum": 0.9, "centered": True}),
    CENTERED_RMSPROP({"learning_rate": 0.1, "decay": 0.5, "epsilon": 0.1, "centered": True}),
    ADAGRAD({"learning_rate": 0.1}),
    ADAGRAD({"learning_rate": 1.0, "initial_accumulator_value": 1e-6}),
    ADADELTA({}),
    ADADELTA({"learning_rate": 1.0}),
    ADADELTA({"learning_rate": 1.0, "rho": 0.5, "epsilon": 0.01}),
    ADADELTA({"learning_rate": 1.0, "rho": 0.0}),
    FTRL({"learning_rate": 0.1}),
    FTRL({"learning_rate": 0.1, "initial_accumulator_value": 0.0}),
    FTRL({"learning_rate": 0.1, "learning_rate_power": 0.0}),
    FTRL({"learning_rate": 0.1, "learning_rate_power": -0.75}),
    FTRL({"learning_rate": 0.1, "learning_rate_power": -1.0}),
    FTRL({"learning_rate": 0.1, L1: 0.5, L2: 0.1}),
    FTRL({"learning_rate": 0.1, "l2_shrinkage_regularization_strength": 0.1}),
    FTRL({"learning_rate": 0.1, "beta": 1.0}),
    FTRL(
        {
            "learning_rate": 0.1,
            "learning_rate_power": -0.75,
            L1: 0.5,
            L2: 0.1,
            "l2_shrinkage_regularization_strength": 0.1,
            "beta": 1.0,
        }
    ),
    PROXIMAL_DESCENT({"learning_rate": 0.1}),
    PROXIMAL_DESCENT({"learning_rate": 0.1, L1: 0.5}),
    PROXIMAL_DESCENT({"learning_rate": 0.1, L1: 0.1, L2: 0.5}),
    PROXIMAL_ADAGRAD({"learning_rate": 0.1}),
    PROXIMAL_ADAGRAD({"learning_rate": 0.1, L1: 0.5}),
    PROXIMAL_ADAGRAD({"learning_rate": 1.0, "initial_accumulator_value": 1e-6, L1: 0.1, L2: 0.5}),
    ADAGRAD_DA({"learning_rate": 0.1}),
    ADAGRAD_DA({"learning_rate": 0.1, L1: 0.05}),
    ADAGRAD_DA({"learning_rate": 0.1, L1: 0.05, L2: 0.5}),
    ADAGRAD_DA({"learning_rate": 0.1, "initial_gradient_squared_accumulator_value": 10.0}),
)
# TensorFlow adds the duplicates of a sparse gradient in the variable's dtype, and its sparse
# kernels have another order of operations: 7 ulp of the largest element after 50 steps of RMSProp,
# measured.
ULPS_OTHERWISE = 16
VARIABLE_SHAPES = ((5, 3), (33,))
STEPS = 50
STEPS_KEPT = (1, 10, 50)


def initial_values(dtype: Any) -> list[np.ndarray]:
    return [normal(shape, dtype) / dtype(8) for shape in VARIABLE_SHAPES]


def dense_gradients(dtype: Any) -> list[np.ndarray]:
    """Return one gradient for each variable, the steps along the first axis."""
    return [normal((STEPS, *shape), dtype) for shape in VARIABLE_SHAPES]


def sparse_gradients(dtype: Any, rows: Callable[..., np.ndarray]) -> list[Slices]:
    """Return gradients for some of the first rows of each variable."""
    return [
        Slices(
            normal((STEPS, 4, *shape[1:]), dtype),
            np.stack(
                [rows(np.random.default_rng(step), min(shape[0], 8)) for step in range(STEPS)]
            ),
            shape,
        )
        for shape in VARIABLE_SHAPES
    ]


GRADIENTS: dict[str, Callable[[Any], list[Any]]] = {
    "dense": dense_gradients,
    "rows": lambda dtype: sparse_gradients(dtype, lambda random, n: random.permutation(n)[:4]),
    "duplicates": lambda dtype: sparse_gradients(
        dtype, lambda random, n: random.integers(n, size=4)
    ),
}


class KerasAdamW:
    """`keras.optimizers.AdamW` by the names of TensorFlow 1."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: Any = 0.004,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
    ) -> None:
        numbers = map(float, (learning_rate, weight_decay, beta1, beta2, epsilon))
        self._optimizer = keras.optimizers.AdamW(*numbers)

    def apply_gradients(self, grads_and_vars: Any, global_step: Any) -> None:
        # Keras squares rows that share an index one by one; TensorFlow 1 sums them before.
        summed = [
            (
                deduplicate(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient,
                variable,
            )
            for gradient, variable in grads_and_vars
        ]
        self._optimizer.apply_gradients(summed)

    def get_slot(self, variable: Any, name: str) -> Any:
        slots = {"m": self._optimizer._momentums, "v": self._optimizer._velocities}
        return slots[name][self._optimizer._get_variable_index(variable)].value


def hyperparameters(constructor: Callable[..., Any], row: Optimizer, dtype: Any) -> dict[str, Any]:
    """Return the arguments in the variables' dtype.

    TensorFlow rounds a Python float to float32 even for float64 variables, and with it the powers
    of Adam's betas; a float64 tensor it takes as it is. Only initial values are never rounded.
    """
    bound = inspect.signature(constructor).bind_partial(**row.arguments)
    bound.apply_defaults()
    return {
        name: tf.constant(value, dtype)
        if isinstance(value, float) and not name.startswith("initial")
        else value
        for name, value in bound.arguments.items()
    }


def trajectory(row: Optimizer, dtype: Any, values: list[Any], steps: list[Any]) -> dict[str, Any]:
    constructor = (
        KerasAdamW if row.name == "AdamWOptimizer" else getattr(tf.compat.v1.train, row.name)
    )
    arguments = hyperparameters(constructor, row, dtype)
    global_step = tf.Variable(0, dtype=tf.int64)
    if "global_step" in inspect.signature(constructor).parameters:
        arguments["global_step"] = global_step
    optimizer = constructor(**arguments)
    variables = [tf.Variable(value) for value in values]
    history = []
    for step in range(STEPS):
        at_this_step = [to_tensorflow(gradient_at(gradient, step)) for gradient in steps]
        optimizer.apply_gradients(zip(at_this_step, variables, strict=True), global_step)
        history.append([variable.numpy() for variable in variables])
    kept = [history[step - 1] for step in STEPS_KEPT]
    return {
        "variables": [np.stack(values) for values in zip(*kept, strict=True)],
        "slots": {
            slot: [optimizer.get_slot(variable, slot).numpy() for variable in variables]
            for slot in row.slots
        },
    }


def to_tensorflow(value: Any) -> Any:
    match value:
        case Slices(values, indices, dense_shape):
            shape = None if dense_shape is None else tf.constant(dense_shape, tf.int64)
            return tf.IndexedSlices(tf.constant(values), tf.constant(indices), shape)
        case np.ndarray():
            return tf.constant(value)
        case list():
            return [to_tensorflow(x) for x in value]
        case _:
            return value


def from_tensorflow(value: Any) -> Any:
    match value:
        case tf.IndexedSlices():
            shape = None if value.dense_shape is None else tuple(value.dense_shape.numpy().tolist())
            return Slices(value.values.numpy(), value.indices.numpy(), shape)
        case tf.Tensor():
            return np.asarray(value.numpy())
        case list() | tuple():
            return [from_tensorflow(x) for x in value]
        case _:
            return value


def function_cases() -> Iterator[tuple[str, str, dict[str, Any], Any, float]]:
    for function, call, table, dtypes in FUNCTIONS:
        for dtype in dtypes:
            ulps = 0 if function == EXACT else ULPS[dtype]
            for label, arguments in table(dtype).items():
                converted = {key: to_tensorflow(x) for key, x in arguments.items()}
                name = f"{function}/{np.dtype(dtype).name}/{label}"
                yield name, function, arguments, from_tensorflow(call(**converted)), ulps


def optimizer_cases() -> Iterator[tuple[str, str, dict[str, Any], Any, float]]:
    for row, dtype, kind in itertools.product(OPTIMIZERS, SINGLES, GRADIENTS):
        if dtype not in row.dtypes:
            continue
        label = "-".join(f"{key}={value}" for key, value in row.arguments.items()) or "defaults"
        name = f"{row.name}/{np.dtype(dtype).name}/{kind}/{label}"
        values, gradients = initial_values(dtype), GRADIENTS[kind](dtype)
        arguments = {
            "hyperparameters": row.arguments,
            "variables": values,
            "gradients": gradients,
            "steps_kept": list(STEPS_KEPT),
        }
        is_exact = dtype is np.float32 and kind == "dense"
        ulps = row.ulps if is_exact else max(row.ulps, ULPS_OTHERWISE)
        yield name, row.name, arguments, trajectory(row, dtype, values, gradients), ulps


def make() -> Archive:
    archive = Archive()
    for case in function_cases():
        archive.add(*case)
    for case in optimizer_cases():
        archive.add(*case, of_largest=True)
    return archive


def differences(old: Archive, new: Archive) -> Iterator[str]:
    for name in sorted(old.cases.keys() ^ new.cases.keys()):
        yield f"{name}: only in the {'file' if name in old.cases else 'tables'}"
    for name in sorted(old.cases.keys() & new.cases.keys()):
        agreement = new.agreement(name)
        yield from differing_leaves(f"{name}/arguments", old.arguments(name), new.arguments(name))
        yield from differing_leaves(
            f"{name}/output", old.output(name), new.output(name), *agreement
        )


def differing_leaves(name: str, old: Any, new: Any, *agreement: Any) -> Iterator[str]:
    old_leaves, new_leaves = dict(leaves(old)), dict(leaves(new))
    for path in sorted(old_leaves.keys() | new_leaves.keys()):
        if not agrees(new_leaves.get(path), old_leaves.get(path), *agreement):
            yield f"{name}{path}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, help="the golden file")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    made = make()
    if not options.check:
        made.save(options.path)
        return 0
    found = list(differences(Archive.load(options.path), made))
    print(*found, f"{len(made.cases)} cases compared, {len(found)} differences", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
