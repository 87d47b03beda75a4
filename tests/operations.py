"""What limits numbers or takes their norm, and what each should give, computed by other means.

An operation joins every test by one row of `OPERATIONS`, a norm by one of `REDUCTIONS`. The
references convert the numbers to float64 and, where norms are concerned, to integers: both are
exact, and so are sums of squares of integers.
"""

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from arrays import DTYPES, FLOATING, Array, Dtype, numeric_limits

import numclip as nc

# An integer in units of 2**-1074, of which every float64 is a multiple, or infinity.
Units: TypeAlias = int | float
_UNIT_EXPONENT = 1074
_ROOT_BITS = 128


def units(value: float) -> Units:
    if not math.isfinite(value):
        return math.inf
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_UNIT_EXPONENT + 1 - denominator.bit_length())


_as_units = np.frompyfunc(units, 1, 1)
# NumPy's own comparison would round to float64.
_is_greater = np.frompyfunc(operator.gt, 2, 1)


def widened(x: Array) -> Array:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def parts(x: Array) -> Array:
    """Return the numbers as float64; a last axis holds real and imaginary part."""
    if x.dtype.kind != "c":
        return widened(x)[..., np.newaxis]
    return np.stack([widened(x).real, widened(x).imag], axis=-1)


def sums_of_squares(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the sums, exactly, in square units; infinity for what is not finite."""
    numbers = parts(x)
    finite = np.isfinite(numbers)
    integers = np.asarray(_as_units(np.where(finite, numbers, 0.0)), object)
    squares = np.asarray((integers * integers).sum(axis=-1), object)
    sums = np.asarray(squares.sum(axis=axes, keepdims=True), object)
    sums[~finite.all(axis=-1).all(axis=axes, keepdims=True)] = math.inf
    return sums


def sum_of_squares(tensors: list[Array]) -> Units:
    sums = [sums_of_squares(x, tuple(range(x.ndim))).item() for x in tensors]
    return math.inf if math.inf in sums else sum(sums)


def root(square: int) -> Fraction:
    """Return the square root of square units as a number, with a relative error of 2**-128."""
    return Fraction(math.isqrt(square << 2 * _ROOT_BITS), 1 << (_UNIT_EXPONENT + _ROOT_BITS))


def as_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def tolerance(dtype: Dtype, size: int) -> tuple[float, float]:
    """Return the relative and the absolute error allowed in a clipped number.

    A factor and a product are rounded, downwards at worst; a norm of `size` numbers is a chain of
    less than 40 additions for each power of 4,096 in `size`.
    """
    limits = numeric_limits(dtype)
    chain = 40 * (1 + math.ceil(math.log(max(size, 2), 4096)))
    return 2 * float(limits.eps) + chain * 2.0**-53, float(limits.smallest_subnormal)


def no_tolerance(dtype: Dtype, size: int) -> tuple[float, float]:
    return 0.0, 0.0


def allowance(tensors: list[Array], limit: float) -> float:
    """Return how far above a limit in the subnormal range a norm may be: a step per element."""
    formats = [(numeric_limits(x.dtype), parts(x).size) for x in tensors]
    return sum(
        float(format.smallest_subnormal) * math.sqrt(size)
        for format, size in formats
        if limit < float(format.smallest_normal)
    )


class Operation(NamedTuple):
    """A function that limits something: norms, given by their squares in square units."""

    name: str
    # What an array is handed over as, and how: with a limit, and with `out` or None.
    operand: Callable[[Array], Any]
    call: Callable[[Any, float, Any], Any]
    squares: Callable[[list[Array]], Any]
    # Whole numbers that the limit is multiplied by before it applies to the norms.
    weights: Callable[[list[Array]], Any] = lambda tensors: 1
    # From a tensor, the same scaled, and the limit to the result; both as `parts` gives them.
    reference: Callable[[Array, Array, float], Array] = lambda x, scaled, limit: scaled
    tolerance: Callable[[Dtype, int], tuple[float, float]] = tolerance
    dtypes: tuple[str, ...] = DTYPES
    dimensions: int = 0
    # Whether the result is not above the limit, and a second call changes nothing.
    is_projection: bool = True

    def limits(self, tensors: list[Array], limit: float) -> Array:
        """Return what each norm is limited to, in units."""
        weights = np.asarray(self.weights(tensors), object)
        return np.asarray(weights * units(limit), object) if limit < math.inf else weights * limit

    def limit(self, tensors: list[Array], squares: Any, fraction: float) -> float:
        """Return a fraction of the largest finite norm, the fraction itself where all are zero."""
        if fraction == math.inf:
            return fraction
        pairs = np.broadcast(np.asarray(squares, object), np.asarray(self.weights(tensors), object))
        found = [square // int(weight) ** 2 for square, weight in pairs if 0 < square < math.inf]
        return as_float(Fraction(fraction) * (root(max(found)) if found else 1))

    def expected(self, tensors: list[Array], squares: Any, limit: float) -> list[Array]:
        """Return what the tensors should become, as `parts` gives it."""
        factors = np.frompyfunc(_factor, 2, 2)(squares, self.limits(tensors, limit))
        first, second = (np.asarray(f, np.float64)[..., np.newaxis] for f in factors)
        with np.errstate(invalid="ignore", under="ignore"):
            return [self.reference(x, parts(x) * first * second, limit) for x in tensors]

    def is_within(self, tensors: list[Array], squares: Any, limit: float) -> Array:
        """Tell, exactly, which finite norms are within their limits, with an axis for `parts`."""
        limits = self.limits(tensors, limit)
        above = np.asarray(_is_greater(squares, limits * limits), bool)
        return (~above & (np.asarray(squares, object) != math.inf))[..., np.newaxis]

    def is_above(self, tensors: list[Array], limit: float) -> bool:
        """Tell, exactly, whether a norm is above its limit and the allowance."""
        limits = self.limits(tensors, limit + allowance(tensors, limit))
        return bool(np.any(_is_greater(self.squares(tensors), limits * limits)))


def _factor(square: Units, limit: Units) -> tuple[float, float]:
    """Return min(1, limit / norm) as a product, as it may be below float64's range."""
    if square == math.inf:
        return math.nan, 1.0
    if limit == math.inf or square <= limit * limit:
        return 1.0, 1.0
    factor = Fraction(int(limit), 1 << _UNIT_EXPONENT) / root(int(square))
    return (float(factor), 1.0) if factor > 2.0**-900 else (float(factor * 2**900), 2.0**-900)


def scaled_or_zero(x: Array, scaled: Array, limit: float) -> Array:
    return np.where(np.isnan(scaled), 0.0, scaled)


def bounded(x: Array, scaled: Array, limit: float) -> Array:
    bound = rounded(np.float64(limit), x.dtype)
    return np.maximum(np.minimum(parts(x), bound), -bound)


def bounded_by_columns(x: Array, scaled: Array, limit: float) -> Array:
    lowest, highest = (rounded(bound, x.dtype) for bound in column_bounds(x, limit))
    return np.maximum(np.minimum(parts(x), highest[:, np.newaxis]), lowest[:, np.newaxis])


def rounded(values: Any, dtype: Dtype) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.asarray(values).astype(dtype).astype(np.float64))


def column_bounds(x: Array, limit: float) -> tuple[Array, Array]:
    """Return bounds that cross in every third column, where the minimum wins."""
    crossed = np.arange(tuple(x.shape)[-1]) % 3 == 0
    return np.where(crossed, limit / 2, -limit), np.where(crossed, -limit / 2, limit)


def itself(x: Array) -> Any:
    return x


def alone(x: Array) -> Any:
    return [x]


def twice(x: Array) -> Any:
    return [x, None, np.array(x)]


def twice_in_a_tuple(x: Array) -> Any:
    return (None, x, np.array(x))


def by_name(x: Array) -> Any:
    return {"weights": x, "frozen": None, "bias": np.array(x)}


def mixed(x: Array) -> Any:
    """Add other dtypes: float64 whose squares underflow, zeros, and numbers of about 1."""
    return [
        np.linspace(-1e-200, 1e-200, 130),
        x,
        np.zeros(3, np.float32),
        np.array([[0.5]], np.float16),
        np.array([0.25 - 0.125j]),
    ]


def slices(x: Array) -> Any:
    """Take the numbers as rows, two of which stand for the same row of the dense array."""
    return nc.IndexedSlices(x, np.arange(len(x)) // 2, (len(x) + 3, *x.shape[1:]))


def slices_and_array(x: Array) -> Any:
    return [slices(x), None, np.array(x)]


def row_weights(tensors: list[Array]) -> Array:
    rows = np.arange(len(tensors[0])) % 3 + 1
    return rows.reshape(-1, *[1] * (tensors[0].ndim - 1))


def dense_size(tensors: list[Array]) -> int:
    return max(math.prod(slices(tensors[0]).dense_shape), 1)


def over(*axes: int) -> Callable[[list[Array]], Array]:
    return lambda tensors: sums_of_squares(tensors[0], axes)


def over_rows(tensors: list[Array]) -> Array:
    return sums_of_squares(tensors[0], tuple(range(1, tensors[0].ndim)))


def clip_by_value(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_value(t, -limit, limit, out=out)


def clip_columns_by_value(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_value(t, *column_bounds(leaves(t)[0], limit), out=out)


def clip_by_norm(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_norm(t, limit, out=out)


def clip_by_norm_over(axes: Any) -> Callable[[Any, float, Any], Any]:
    return lambda t, limit, out: nc.clip_by_norm(t, limit, axes=axes, out=out)


def clip_rows_by_norm(t: Any, limit: float, out: Any) -> Any:
    with np.errstate(over="ignore"):
        limits = limit * row_weights(leaves(t))
    return nc.clip_by_norm(t, limits, axes=range(1, limits.ndim), out=out)


def clip_by_average_norm(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_average_norm(t, limit, out=out)


def clip_by_global_norm(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_global_norm(t, limit, out=out)[0]


def clip_or_zero(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_global_norm(t, limit, nonfinite="zero", out=out)[0]


GIVEN_NORM = 0.75


def clip_by_given_norm(t: Any, limit: float, out: Any) -> Any:
    return nc.clip_by_global_norm(t, limit, use_norm=GIVEN_NORM, out=out)[0]


_VALUE: dict[str, Any] = {
    "squares": over(),
    "tolerance": no_tolerance,
    "dtypes": FLOATING,
    "is_projection": False,
}

OPERATIONS = (
    Operation("clip_by_value", itself, clip_by_value, reference=bounded, **_VALUE),
    Operation(
        "clip_by_value of slices", slices, clip_by_value, reference=bounded, dimensions=1, **_VALUE
    ),
    Operation(
        "clip_by_value, bounds to a column",
        itself,
        clip_columns_by_value,
        reference=bounded_by_columns,
        dimensions=1,
        **_VALUE,
    ),
    Operation("clip_by_norm", itself, clip_by_norm, sum_of_squares),
    Operation("clip_by_norm of slices", slices, clip_by_norm, sum_of_squares, dimensions=1),
    Operation("clip_by_norm, axes=[]", itself, clip_by_norm_over([]), over()),
    Operation("clip_by_norm, axes=0", itself, clip_by_norm_over(0), over(0), dimensions=1),
    Operation("clip_by_norm, axes=-1", itself, clip_by_norm_over(-1), over(-1), dimensions=1),
    Operation(
        "clip_by_norm, axes=(-1, 0)", itself, clip_by_norm_over((-1, 0)), over(-1, 0), dimensions=2
    ),
    Operation(
        "clip_by_norm of slices, axes=1", slices, clip_by_norm_over(1), over(1), dimensions=2
    ),
    Operation(
        "clip_by_norm, a limit to a row",
        itself,
        clip_rows_by_norm,
        over_rows,
        row_weights,
        dimensions=1,
    ),
    Operation(
        "clip_by_average_norm",
        itself,
        clip_by_average_norm,
        sum_of_squares,
        lambda tensors: max(tensors[0].size, 1),
    ),
    Operation(
        "clip_by_average_norm of slices",
        slices,
        clip_by_average_norm,
        sum_of_squares,
        dense_size,
        dimensions=1,
    ),
    Operation("clip_by_global_norm", alone, clip_by_global_norm, sum_of_squares),
    Operation("clip_by_global_norm of two", twice, clip_by_global_norm, sum_of_squares),
    Operation(
        "clip_by_global_norm of a tuple", twice_in_a_tuple, clip_by_global_norm, sum_of_squares
    ),
    Operation("clip_by_global_norm of a dict", by_name, clip_by_global_norm, sum_of_squares),
    Operation("clip_by_global_norm of mixed dtypes", mixed, clip_by_global_norm, sum_of_squares),
    Operation(
        "clip_by_global_norm of slices",
        slices_and_array,
        clip_by_global_norm,
        sum_of_squares,
        dimensions=1,
    ),
    Operation(
        'clip_by_global_norm, nonfinite="zero"',
        twice,
        clip_or_zero,
        sum_of_squares,
        reference=scaled_or_zero,
    ),
    Operation(
        "clip_by_global_norm, use_norm",
        twice,
        clip_by_given_norm,
        lambda tensors: units(GIVEN_NORM) ** 2,
        is_projection=False,
    ),
)


class Reduction(NamedTuple):
    """A function of tensors that gives their norm."""

    name: str
    operand: Callable[[Array], Any]
    call: Callable[[Any], Any]
    dtypes: tuple[str, ...] = DTYPES
    dimensions: int = 0


def reported_norm(t: Any) -> Any:
    return nc.clip_by_global_norm(t, 1.0)[1]


REDUCTIONS = (
    Reduction("global_norm", alone, nc.global_norm),
    Reduction("global_norm of two", twice, nc.global_norm),
    Reduction("global_norm of a dict", by_name, nc.global_norm),
    Reduction("global_norm of mixed dtypes", mixed, nc.global_norm),
    Reduction("global_norm of slices", slices_and_array, nc.global_norm, dimensions=1),
    Reduction("norm that clip_by_global_norm reports", twice, reported_norm),
)


def exact_norm(tensors: list[Array]) -> float:
    """Return the norm rounded once: NaN where a number is NaN, else infinite where one is."""
    numbers = np.concatenate([parts(x).ravel() for x in tensors])
    if not np.isfinite(numbers).all():
        return math.nan if np.isnan(numbers).any() else math.inf
    return as_float(root(int(sum_of_squares(tensors))))


def leaves(value: Any) -> list[Array]:
    """Return the arrays in an operand or a result; of IndexedSlices the values."""
    match value:
        case None:
            return []
        case nc.IndexedSlices():
            return [value.values]
        case dict():
            return [leaf for entry in value.values() for leaf in leaves(entry)]
        case list() | tuple():
            return [leaf for entry in value for leaf in leaves(entry)]
        case _:
            return [value]


def structure(value: Any) -> Any:
    """Return all but the numbers: what a result has in common with its operand."""
    match value:
        case None:
            return None
        case nc.IndexedSlices():
            return ("slices", id(value.indices), value.dense_shape, structure(value.values))
        case dict():
            return {key: structure(entry) for key, entry in value.items()}
        case list() | tuple():
            return [structure(entry) for entry in value]
        case _:
            return (type(value), value.dtype, value.shape)


def numbers_differ(got: Array, expected: Array, relative: float, absolute: float) -> bool:
    """Tell whether numbers are further apart than that; NaN agrees with NaN only."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(got - expected) > relative * np.abs(expected) + absolute
    infinite = np.isinf(got) | np.isinf(expected)
    differ = np.where(infinite, got != expected, apart)
    return bool(np.any(differ | (np.isnan(got) != np.isnan(expected))))
