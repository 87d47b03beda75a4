"""Every optimizer by name: how it is made, and its step by hand.

A step is one NumPy operation after another, in the type that the variable is computed in. An
optimizer joins the tests of all optimizers by one row of `OPTIMIZERS`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from golden.archive import agrees

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
RATE = 0.1


class Row(NamedTuple):
    """An optimizer by hand.

    `step` takes the type that is computed in, the number of the step, the variable's numbers, the
    gradient's and those of the slots; it returns the new numbers of the variable and of the slots.
    """

    make: Callable[..., nc.train.Optimizer]
    step: Callable[..., tuple[Array, ...]]
    slots: dict[str, float]  # with what they begin, in the order in which a step takes them
    row_step: Callable[..., tuple[Array, ...]] | None = None  # for IndexedSlices
    takes_all_rows: bool = False
    sums_duplicates: bool = True
    ulps: float = 0  # of the largest number, where NumPy's functions are not the C library's


def gradient_descent(kind: Any, time: int, x: Array, g: Array) -> tuple[Array, ...]:
    return (x - g * kind(RATE),)


def momentum(kind: Any, time: int, x: Array, g: Array, a: Array) -> tuple[Array, ...]:
    a = a * kind(0.9) + g
    return x - a * kind(RATE), a


def nesterov(kind: Any, time: int, x: Array, g: Array, a: Array) -> tuple[Array, ...]:
    a = a * kind(0.9) + g
    return x - (g * kind(RATE) + a * kind(0.9) * kind(RATE)), a


def adagrad(kind: Any, time: int, x: Array, g: Array, a: Array) -> tuple[Array, ...]:
    a = a + g * g
    return x - g * kind(0.5) / np.sqrt(a), a


def adadelta(kind: Any, time: int, x: Array, g: Array, a: Array, u: Array) -> tuple[Array, ...]:
    rho, epsilon = kind(0.9), kind(0.01)
    a = a * rho + g * g * (kind(1) - rho)
    update = np.sqrt(u + epsilon) / np.sqrt(a + epsilon) * g
    return x - update * kind(0.7), a, u * rho + update * update * (kind(1) - rho)


def adam_step_size(kind: Any, time: int) -> Any:
    power1 = power2 = kind(1)
    for _ in range(time):
        power1, power2 = power1 * kind(0.8), power2 * kind(0.95)
    return kind(RATE) * np.sqrt(kind(1) - power2) / (kind(1) - power1)


def adam(kind: Any, time: int, x: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
    m = m + (g - m) * (kind(1) - kind(0.8))
    v = v + (g * g - v) * (kind(1) - kind(0.95))
    return x - m * adam_step_size(kind, time) / (np.sqrt(v) + kind(1e-4)), m, v


def adam_rows(kind: Any, time: int, x: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
    m = m * kind(0.8) + g * (kind(1) - kind(0.8))
    v = v * kind(0.95) + g * g * (kind(1) - kind(0.95))
    return x - adam_step_size(kind, time) * m / (np.sqrt(v) + kind(1e-4)), m, v


def decayed(kind: Any, x: Array) -> Array:
    return x - x * kind(0.02) * kind(RATE)


def adamw(kind: Any, time: int, x: Array, *others: Array) -> tuple[Array, ...]:
    return adam(kind, time, decayed(kind, x), *others)


def adamw_rows(kind: Any, time: int, x: Array, *others: Array) -> tuple[Array, ...]:
    return adam_rows(kind, time, decayed(kind, x), *others)


def rmsprop(kind: Any, time: int, x: Array, g: Array, s: Array, p: Array) -> tuple[Array, ...]:
    s = s + (g * g - s) * (kind(1) - kind(0.8))
    p = p * kind(0.5) + g * kind(RATE) / np.sqrt(s + kind(1e-4))
    return x - p, s, p


def centered_rmsprop(
    kind: Any, time: int, x: Array, g: Array, s: Array, m: Array, p: Array
) -> tuple[Array, ...]:
    s = s + (g * g - s) * (kind(1) - kind(0.8))
    m = m + (g - m) * (kind(1) - kind(0.8))
    p = p * kind(0.5) + g * kind(RATE) / np.sqrt(s - m * m + kind(1e-2))
    return x - p, s, m, p


def shrunk(value: Array, threshold: Any) -> Array:
    rest = np.abs(value) - threshold
    return np.copysign(np.where(rest < 0, np.zeros_like(rest), rest), value)


def ftrl(
    power: Callable[[Any, Array], Array],
    kind: Any,
    time: int,
    x: Array,
    g: Array,
    a: Array,
    z: Array,
) -> tuple[Array, ...]:
    rate, two, new = kind(0.5), kind(2), a + g * g
    z = z + (g + two * kind(0.01) * x - (power(kind, new) - power(kind, a)) / rate * x)
    curvature = power(kind, new) / rate + two * kind(0.01 + 0.1 / (2.0 * 0.5))
    return -shrunk(z, kind(0.05)) / curvature, new, z


def proximal_gradient_descent(kind: Any, time: int, x: Array, g: Array) -> tuple[Array, ...]:
    rate = kind(RATE)
    return (shrunk(x - g * rate, rate * kind(0.1)) / (kind(1) + rate * kind(0.01)),)


def proximal_adagrad(kind: Any, time: int, x: Array, g: Array, a: Array) -> tuple[Array, ...]:
    a = a + g * g
    rate = kind(0.5) / np.sqrt(a)
    return shrunk(x - g * rate, rate * kind(0.1)) / (kind(1) + rate * kind(0.01)), a


def adagrad_da(
    kind: Any, time: int, x: Array, g: Array, total: Array, squares: Array
) -> tuple[Array, ...]:
    total, squares, step = total + g, squares + g * g, kind(3)
    scale = kind(0.01) * step * kind(0.5) + np.sqrt(squares)
    return -shrunk(total, kind(0.1) * step) * kind(0.5) / scale, total, squares


ADAM = {"learning_rate": RATE, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}
RMSPROP = {"learning_rate": RATE, "decay": 0.8, "momentum": 0.5}
PENALTIES = {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.01}
FTRL = {
    "learning_rate": 0.5,
    "l1_regularization_strength": 0.05,
    "l2_regularization_strength": 0.01,
    "l2_shrinkage_regularization_strength": 0.01,
    "beta": 0.1,
}
OPTIMIZERS: dict[str, Row] = {
    "gradient descent": Row(
        partial(nc.train.GradientDescentOptimizer, RATE),
        gradient_descent,
        {},
        sums_duplicates=False,
    ),
    "momentum": Row(partial(nc.train.MomentumOptimizer, RATE, 0.9), momentum, {"momentum": 0.0}),
    "nesterov": Row(
        partial(nc.train.MomentumOptimizer, RATE, 0.9, use_nesterov=True),
        nesterov,
        {"momentum": 0.0},
    ),
    "adagrad": Row(partial(nc.train.AdagradOptimizer, 0.5), adagrad, {"accumulator": 0.1}),
    "adadelta": Row(
        partial(nc.train.AdadeltaOptimizer, 0.7, rho=0.9, epsilon=0.01),
        adadelta,
        {"accum": 0.0, "accum_update": 0.0},
    ),
    "adam": Row(
        partial(nc.train.AdamOptimizer, **ADAM),
        adam,
        {"m": 0.0, "v": 0.0},
        row_step=adam_rows,
        takes_all_rows=True,
    ),
    "adamw": Row(
        partial(nc.train.AdamWOptimizer, **ADAM, weight_decay=0.02),
        adamw,
        {"m": 0.0, "v": 0.0},
        row_step=adamw_rows,
        takes_all_rows=True,
    ),
    "rmsprop": Row(
        partial(nc.train.RMSPropOptimizer, **RMSPROP, epsilon=1e-4),
        rmsprop,
        {"rms": 1.0, "momentum": 0.0},
    ),
    "centered rmsprop": Row(
        partial(nc.train.RMSPropOptimizer, **RMSPROP, epsilon=1e-2, centered=True),
        centered_rmsprop,
        {"rms": 1.0, "mg": 0.0, "momentum": 0.0},
    ),
    "ftrl": Row(
        partial(nc.train.FtrlOptimizer, **FTRL),
        partial(ftrl, lambda kind, a: np.sqrt(a)),
        {"accum": 0.1, "linear": 0.0},
    ),
    "ftrl with another power": Row(
        partial(nc.train.FtrlOptimizer, **FTRL, learning_rate_power=-0.75),
        partial(ftrl, lambda kind, a: a ** kind(0.75)),
        {"accum": 0.1, "linear": 0.0},
        ulps=16,
    ),
    "proximal gradient descent": Row(
        partial(nc.train.ProximalGradientDescentOptimizer, RATE, **PENALTIES),
        proximal_gradient_descent,
        {},
    ),
    "proximal adagrad": Row(
        partial(nc.train.ProximalAdagradOptimizer, 0.5, **PENALTIES),
        proximal_adagrad,
        {"accumulator": 0.1},
    ),
    "adagrad da": Row(
        lambda **options: nc.train.AdagradDAOptimizer(0.5, nc.Variable(2), **PENALTIES, **options),
        adagrad_da,
        {"gradient_accumulator": 0.0, "gradient_squared_accumulator": 0.1},
    ),
}
for_every_optimizer = pytest.mark.parametrize("row", OPTIMIZERS.values(), ids=OPTIMIZERS)
for_every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)

# Each rule is compiled for each dtype and each way to clip: halves, which are widened alike for
# all, for some rules only.
SOME_OPTIMIZERS = ("gradient descent", "adagrad", "adam")
with_dtypes = pytest.mark.parametrize(
    ("row", "dtype"),
    [
        pytest.param(row, dtype, id=f"{name}-{np.dtype(dtype).name}")
        for name, row in OPTIMIZERS.items()
        for dtype in (DTYPES if name in SOME_OPTIMIZERS else DTYPES[2:])
    ],
)


class ByHand:
    """A variable and its slots, updated by the steps of a row."""

    def __init__(self, row: Row, numbers: Array) -> None:
        self.kind = np.float64 if numbers.dtype == np.float64 else np.float32
        self.number = numbers.copy()
        self.slots = {name: np.full_like(numbers, start) for name, start in row.slots.items()}
        self.time = 1
        self._row = row

    def apply(self, *gradients: Any) -> None:
        """Take one step, by each of these gradients in turn."""
        for gradient in gradients:
            if isinstance(gradient, nc.IndexedSlices):
                for place, values in self._by_rows(gradient):
                    self._update(self._row.row_step or self._row.step, place, values)
            else:
                self._update(self._row.step, ..., gradient)
        self.time += 1

    def _by_rows(self, slices: nc.IndexedSlices) -> Iterator[tuple[int, Array]]:
        pairs = zip(np.asarray(slices.indices).tolist(), slices.values, strict=True)
        if not self._row.sums_duplicates:
            yield from pairs
            return
        sums = {}
        if self._row.takes_all_rows:
            sums = {i: np.zeros(row.shape) for i, row in enumerate(self.number)}
        for i, values in pairs:
            sums[i] = sums.get(i, 0.0) + values.astype(np.float64)
        yield from ((i, values.astype(self.number.dtype)) for i, values in sums.items())

    def _update(self, step: Callable[..., Any], place: Any, gradient: Array) -> None:
        arrays = (self.number, *self.slots.values())
        number, *slots = (array[place].astype(self.kind) for array in arrays)
        new = step(self.kind, self.time, number, gradient.astype(self.kind), *slots)
        for array, values in zip(arrays, new, strict=True):
            array[place] = values.astype(array.dtype)

    def assert_agrees(self, variable: nc.Variable, optimizer: nc.train.Optimizer) -> None:
        """Compare bit for bit, or as the row says."""
        found = {"variable": variable}
        found |= {name: optimizer.get_slot(variable, name) for name in self.slots}
        for name, expected in {"variable": self.number, **self.slots}.items():
            array = np.asarray(found[name])
            if self._row.ulps:
                assert agrees(array, expected, self._row.ulps, of_largest=True), (name, self.time)
            else:
                assert same(array, expected), (name, self.time)


def normal(shape: Any, dtype: Any = float, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def same(first: Any, second: Any) -> bool:
    first, second = np.asarray(first), np.asarray(second)
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and first.tobytes() == second.tobytes()
    )
