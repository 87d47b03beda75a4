"""IndexedSlices: a tuple with arithmetic, sums of duplicates, and what SciPy makes of it."""

import copy
import functools
import operator
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import numclip as nc

Array = np.ndarray[Any, np.dtype[Any]]

FLOATS = ["float16", "bfloat16", "float32", "float64"]
DTYPES = [*FLOATS, "complex64", "complex128"]
INDEX_DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]

# Bits of the significand, and the exponent of the smallest normal number.
FORMATS = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126)}


def dtype_named(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def rounded(value: float, dtype: np.dtype[Any]) -> float:
    """Round a float64 once, to nearest with ties to even."""
    if dtype.name not in FORMATS or not np.isfinite(value) or value == 0:
        return value
    precision, smallest = FORMATS[dtype.name]
    exponent = max(int(np.frexp(value)[1]) - 1, smallest) - (precision - 1)
    quantum = Fraction(2) ** exponent
    exact = round(Fraction(value) / quantum) * quantum
    return float(exact) if abs(exact) <= largest(dtype) else float(np.copysign(np.inf, value))


def largest(dtype: np.dtype[Any]) -> float:
    return float(ml_dtypes.finfo(dtype).max)


def parts(values: Array) -> Array:
    """Return the real numbers of complex ones, in a last dimension of twice the length."""
    if values.dtype.kind != "c":
        return values
    return np.ascontiguousarray(values).view(values.real.dtype)


def coalesced(values: Array, indices: Array) -> tuple[Array, Array]:
    """Sum duplicates of a matrix as `coalesce` should, one Python float after another."""
    rows: dict[int, list[int]] = {}
    for position, index in enumerate(indices.tolist()):
        rows.setdefault(index, []).append(position)
    numbers = parts(values)
    summed = np.empty((len(rows), numbers.shape[1]), numbers.dtype)
    for row, positions in enumerate(rows.values()):
        for column in range(numbers.shape[1]):
            terms = [float(numbers[position, column]) for position in positions]
            with np.errstate(all="ignore"):
                summed[row, column] = rounded(functools.reduce(operator.add, terms), numbers.dtype)
    return summed.view(values.dtype), np.array(list(rows), indices.dtype)


def identical(first: Array, second: Array) -> bool:
    """Compare bits, but NaNs as equal whatever theirs."""
    first, second = parts(first), parts(second)
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and np.array_equal(np.isnan(first), np.isnan(second))
        and np.where(np.isnan(first), 0, first).tobytes()
        == np.where(np.isnan(second), 0, second).tobytes()
    )


def normal(shape: tuple[int, ...], name: str, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) * np.exp2(random.integers(-8, 8, shape))
    if name.startswith("complex"):
        values = values + 1j * random.standard_normal(shape)
    return values.astype(dtype_named(name))


def example() -> nc.IndexedSlices:
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    return nc.IndexedSlices(values, np.array([2, 0, 2]), (4, 2))


DENSE = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 0.0]])


def test_is_a_named_tuple_with_values_first() -> None:
    slices = nc.IndexedSlices(np.ones((1, 2)), np.array([3]), (4, 2))
    values, indices, dense_shape = slices
    assert values is slices.values
    assert indices is slices.indices
    assert dense_shape == slices.dense_shape == slices.shape == (4, 2)
    assert nc.IndexedSlices._fields == ("values", "indices", "dense_shape")
    assert nc.IndexedSlices(values, indices).dense_shape is None


def test_shape_and_dtype() -> None:
    values = np.ones((1, 2), np.float16)
    shape = nc.IndexedSlices(values, [3], np.array([4, 2], np.int32)).shape
    assert shape == (4, 2)
    assert [type(n) for n in shape] == [int, int]
    assert nc.IndexedSlices(values, [3]).shape is None
    assert nc.IndexedSlices(values, [3]).dtype == np.float16
    assert nc.IndexedSlices([[1.0]], [3]).dtype == np.float64


FACTORS: dict[str, Any] = {
    "int": 3,
    "float": 0.5,
    "float64": np.float64(0.5),
    "float32": np.float32(0.5),
    "int64": np.int64(3),
    "0-d array": np.array(0.5),
    "row": np.array([2.0, 3.0]),
    "column": np.array([[2.0], [3.0], [4.0]]),
    "bool": True,
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiplication_is_of_the_values(name: str, dtype: str) -> None:
    slices, factor = example(), FACTORS[name]
    slices = slices._replace(values=slices.values.astype(dtype))
    expected = slices.values * factor
    for product in (slices * factor, factor * slices):
        assert isinstance(product, nc.IndexedSlices)
        assert product.values.dtype == expected.dtype
        np.testing.assert_array_equal(product.values, expected)
        assert product.indices is slices.indices
        assert product.dense_shape == (4, 2)


def test_minus_is_of_the_values() -> None:
    slices = example()
    negative = -slices
    assert isinstance(negative, nc.IndexedSlices)
    np.testing.assert_array_equal(negative.values, -slices.values)
    assert negative.indices is slices.indices
    assert negative.dense_shape == (4, 2)


@pytest.mark.parametrize(
    "function",
    [
        np.asarray,
        nc.stop_gradient,
        nc.sign,
        nc.reverse_gradient,
        nc.gradients_function(lambda x: (x * x).sum()),
    ],
)
def test_is_taken_for_no_array_where_the_lengths_of_the_tuple_would_make_one(
    function: Callable[[Any], Any],
) -> None:
    with pytest.raises(TypeError, match="IndexedSlices"):
        function(nc.IndexedSlices([1.0, 2.0], [0, 1], (3, 5)))


def test_lists_as_values_take_part_in_arithmetic() -> None:
    slices = nc.IndexedSlices([[1.0, 2.0]], [1], (2, 2))
    assert (2 * slices).values.tolist() == [[2.0, 4.0]]
    assert (-slices).values.tolist() == [[-1.0, -2.0]]
    assert (slices + slices).to_dense().tolist() == [[0.0, 0.0], [2.0, 4.0]]


def test_sum_of_slices_joins_them() -> None:
    first, second = example(), example()._replace(indices=np.array([3, 3, 0]))
    joined = first + second
    assert isinstance(joined, nc.IndexedSlices)
    assert joined.indices.tolist() == [2, 0, 2, 3, 3, 0]
    np.testing.assert_array_equal(joined.values, np.concatenate([first.values, second.values]))
    np.testing.assert_array_equal(joined.to_dense(), first.to_dense() + second.to_dense())


def test_sum_of_slices_takes_the_shape_that_is_known() -> None:
    known, unknown = example(), example()._replace(dense_shape=None)
    assert (known + unknown).dense_shape == (4, 2)
    assert (unknown + known).dense_shape == (4, 2)
    assert (unknown + unknown).dense_shape is None


def test_slices_of_two_shapes_have_no_sum_and_slices_no_product() -> None:
    first, second = example(), example()._replace(dense_shape=(9, 2))
    with pytest.raises(ValueError, match=r"`dense_shape` must agree, got \(4, 2\) and \(9, 2\)"):
        first + second
    with pytest.raises(TypeError, match="unsupported operand"):
        first * first
    np.testing.assert_array_equal(first.to_dense(), example().to_dense())


@pytest.mark.parametrize(
    ("first", "second"),
    [("int32", "int64"), ("uint8", "int8"), ("uint64", "int64"), ("uint64", "int32")],
)
def test_sum_of_slices_with_indices_of_two_dtypes(first: str, second: str) -> None:
    slices = [example()._replace(indices=np.array([2, 0, 2], dtype)) for dtype in (first, second)]
    np.testing.assert_array_equal((slices[0] + slices[1]).to_dense(), 2 * DENSE)


def test_sum_with_slices_that_hold_nothing() -> None:
    nothing = nc.IndexedSlices(np.zeros((0, 2)), [], (4, 2))
    np.testing.assert_array_equal((nothing + example()).to_dense(), DENSE)
    np.testing.assert_array_equal((example() + nothing).to_dense(), DENSE)


@pytest.mark.parametrize(
    "other", [np.ones((4, 2)), np.ones(2), np.float64(1), 1.0, [[1.0, 1.0]] * 4, np.array(1.0)]
)
def test_sum_with_an_array_is_dense(other: Any) -> None:
    for total in (example() + other, other + example()):
        assert type(total) is np.ndarray
        np.testing.assert_array_equal(total, DENSE + other)


@pytest.mark.parametrize("other", [(1.0, 2.0), ((1.0, 2.0),)])
def test_sum_with_a_tuple_is_no_concatenation(other: Any) -> None:
    for total in (example() + other, other + example()):
        np.testing.assert_array_equal(total, DENSE + np.asarray(other))


def test_numpy_leaves_arithmetic_to_slices() -> None:
    for function in (np.multiply, np.add, np.negative):
        with pytest.raises(TypeError, match="__array_ufunc__"):
            function(*[example()] * function.nin)


def test_equality_and_hash_are_by_identity() -> None:
    first, second = example(), example()
    assert first == first
    assert first != second
    assert first != tuple(first)
    assert second not in [first]
    assert {first: 1, second: 2}[second] == 2
    assert first._replace() != first


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies(duplicate: Callable[[nc.IndexedSlices], nc.IndexedSlices]) -> None:
    copied = duplicate(example())
    assert isinstance(copied, nc.IndexedSlices)
    np.testing.assert_array_equal(copied.to_dense(), DENSE)


@numba.njit
def weighted_sum(slices: Any) -> Any:
    total = 0.0
    for i in range(slices.indices.size):
        total += slices.indices[i] * slices.values[i].sum()
    return total


@numba.njit
def doubled(slices: Any) -> Any:
    return nc.IndexedSlices(slices.values * 2, slices.indices, slices.dense_shape)


@pytest.mark.parametrize("dense_shape", [(4, 2), None])
def test_numba_takes_it(dense_shape: Any) -> None:
    slices = example()._replace(dense_shape=dense_shape)
    assert weighted_sum(slices) == 2 * 3.0 + 0 * 7.0 + 2 * 11.0
    twice = doubled(slices)
    assert isinstance(twice, nc.IndexedSlices)
    np.testing.assert_array_equal(twice.values, 2 * slices.values)
    assert twice.dense_shape == dense_shape


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("index_dtype", INDEX_DTYPES)
def test_coalesce_sums_once_rounded_in_order_of_occurrence(name: str, index_dtype: str) -> None:
    indices = np.random.default_rng(1).integers(0, 20, 300).astype(index_dtype)
    indices[:3] = np.iinfo(index_dtype).max if index_dtype != "uint64" else 2**63 - 1
    values = normal((300, 3), name)
    summed = nc.IndexedSlices(values, indices, None).coalesce()
    expected_values, expected_indices = coalesced(values, indices)
    assert identical(summed.values, expected_values)
    assert identical(summed.indices, expected_indices)


def test_coalesce_by_hand() -> None:
    # 2**53 + 1 - 2**53 is 0 in this order, and 2**24 + 1 + 1 is no float32 but once rounded.
    values = np.array([2.0**53, 1.0, 5.0, -(2.0**53)])
    assert nc.IndexedSlices(values, [7, 7, 1, 7]).coalesce().values.tolist() == [0.0, 5.0]
    single = np.float32([2.0**24, 1.0, 1.0, 1.0])
    assert nc.IndexedSlices(single, [0, 0, 0, 0]).coalesce().values.tolist() == [2.0**24 + 4]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_not_rounded_twice(name: str) -> None:
    # A tie of the half, and a little more that float32 would have rounded away.
    precision = FORMATS[name][0]
    terms = np.array([1.0, 2.0**-precision, 2.0**-14 * 2.0**-10])
    values = terms.astype(dtype_named(name))
    assert values.astype(float).tolist() == terms.tolist()
    slices = nc.IndexedSlices(values, [0, 0, 0])
    assert float(slices.coalesce().values[0]) == 1.0 + 2.0 ** (1 - precision)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_a_sum_too_large_for_its_dtype_is_infinite(name: str) -> None:
    values = np.full(2, largest(dtype_named(name))).astype(dtype_named(name))
    assert np.isinf(nc.IndexedSlices(values, [1, 1]).coalesce().values).all()
    cancelled = nc.IndexedSlices(np.concatenate([values, -values[:1]]), [1, 1, 1]).coalesce()
    assert cancelled.values.tolist() == values[:1].tolist()


def test_a_nan_spreads_over_its_own_column_of_its_own_row() -> None:
    values = np.ones((4, 3))
    values[0, 1], values[2, 2] = np.nan, np.inf
    summed = nc.IndexedSlices(values, [5, 6, 5, 6]).coalesce()
    np.testing.assert_array_equal(summed.values, [[2.0, np.nan, np.inf], [2.0, 2.0, 2.0]])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("trailing", [(), (1,), (3,), (2, 3), (0,), (2, 0, 3)], ids=str)
def test_values_of_any_dimensions(name: str, trailing: tuple[int, ...]) -> None:
    values = normal((6, *trailing), name)
    indices = np.array([4, 1, 4, 0, 1, 4])
    slices = nc.IndexedSlices(values, indices, (5, *trailing))
    summed, dense = slices.coalesce(), slices.to_dense()
    assert summed.indices.tolist() == [4, 1, 0]
    assert (summed.values.shape, summed.dense_shape) == ((3, *trailing), (5, *trailing))
    assert (dense.shape, dense.dtype) == ((5, *trailing), values.dtype)
    if values.size:
        expected, _ = coalesced(values.reshape(6, -1), indices)
        assert identical(summed.values.reshape(3, -1), expected)
        assert identical(dense[[4, 1, 0]].reshape(3, -1), expected)
        assert not np.any(dense[[2, 3]])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("indices", [[], np.array([], int), np.array([], np.uint8)], ids=repr)
def test_nothing_held(name: str, indices: Any) -> None:
    slices = nc.IndexedSlices(np.zeros((0, 2), dtype_named(name)), indices, (3, 2))
    summed, dense = slices.coalesce(), slices.to_dense()
    assert (summed.values.shape, summed.indices.shape) == ((0, 2), (0,))
    assert summed.values.dtype == dense.dtype == dtype_named(name)
    assert not dense.astype(complex).any()


def test_many_duplicates_of_few_rows() -> None:
    values, indices = normal((50_000, 2), "float32"), np.arange(50_000) % 3
    summed = nc.IndexedSlices(values, indices).coalesce()
    exact = np.stack([np.cumsum(values[row::3].astype(float), axis=0)[-1] for row in range(3)])
    np.testing.assert_array_equal(summed.values, exact.astype(np.float32))


def test_rows_that_occur_once_keep_their_bits() -> None:
    values = np.array([[np.nan, -0.0], [5e-324, np.inf]]).astype(np.float32)
    values.view(np.uint32)[0, 0] = 0xFFC0_1234
    slices = nc.IndexedSlices(values, np.array([9, 2]), (10, 2))
    assert slices.coalesce().values.tobytes() == values.tobytes()
    assert slices.to_dense()[[9, 2]].tobytes() == values.tobytes()


def test_coalesce_twice_is_coalesce_once() -> None:
    once = example().coalesce()
    twice = once.coalesce()
    assert twice.values.tobytes() == once.values.tobytes()
    assert twice.indices.tolist() == once.indices.tolist()


def test_results_share_no_memory_with_the_input() -> None:
    slices = nc.IndexedSlices(np.ones((2, 2)), np.array([1, 0]), (2, 2))
    for result in (slices.coalesce().values, slices.coalesce().indices, slices.to_dense()):
        assert not any(np.shares_memory(result, part) for part in slices[:2])


@pytest.mark.parametrize("name", DTYPES)
def test_layouts_of_values_and_indices(name: str) -> None:
    values, indices = normal((8, 4), name), np.array([3, 0, 3, 2, 2, 3, 0, 1])
    plain = nc.IndexedSlices(values, indices, (4, 4))
    strided = np.zeros((16, 8), values.dtype)[::2, ::-2]
    strided[...] = values
    layouts = [(np.asfortranarray(values), indices), (strided, np.repeat(indices, 2)[::2])]
    if name != "bfloat16":
        swapped = values.astype(values.dtype.newbyteorder(">"))
        layouts.append((swapped, indices.astype(">i4")))
    for each in layouts:
        slices = plain._replace(values=each[0], indices=each[1])
        summed = slices.coalesce()
        assert (summed.values.dtype, summed.indices.dtype) == (each[0].dtype, each[1].dtype)
        assert identical(summed.values.astype(values.dtype), plain.coalesce().values)
        assert identical(slices.to_dense().astype(values.dtype), plain.to_dense())


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_to_dense_is_numpys_add_at_in_float64(name: str) -> None:
    values, indices = normal((500, 3), name), np.random.default_rng(2).integers(0, 40, 500)
    dense = np.zeros((50, 3), complex if name.startswith("complex") else float)
    np.add.at(dense, indices, values)
    slices = nc.IndexedSlices(values, indices, (50, 3))
    np.testing.assert_array_equal(slices.to_dense(), dense.astype(name))


@st.composite
def any_slices(draw: st.DrawFn) -> nc.IndexedSlices:
    name = draw(st.sampled_from(DTYPES))
    wide = {"bfloat16": "float32"}.get(name, name)
    count, width = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    with np.errstate(all="ignore"):
        values = draw(arrays(wide, (count, width))).astype(dtype_named(name))
    index_dtype = draw(st.sampled_from(INDEX_DTYPES))
    rows = st.integers(0, min(np.iinfo(index_dtype).max, 2**63 - 1))
    few = draw(st.lists(rows, min_size=1, max_size=4))
    indices = draw(arrays(index_dtype, count, elements=st.sampled_from(few)))
    return nc.IndexedSlices(values, indices)


@given(any_slices())
def test_coalesce_of_anything(slices: nc.IndexedSlices) -> None:
    summed = slices.coalesce()
    with np.errstate(all="ignore"):
        values, indices = coalesced(slices.values, slices.indices)
    assert identical(summed.values, values)
    assert identical(summed.indices, indices)


@given(any_slices())
def test_to_dense_has_the_rows_of_coalesce(slices: nc.IndexedSlices) -> None:
    slices = slices._replace(indices=slices.indices % 7, dense_shape=(7, slices.values.shape[1]))
    dense, summed = slices.to_dense(), slices.coalesce()
    assert identical(dense[summed.indices], summed.values)
    others = np.setdiff1d(np.arange(7), summed.indices)
    assert not dense[others].astype(complex).any()


def matrices() -> dict[str, Any]:
    coo = scipy.sparse.coo_array(
        ([1.0, 2.0, 4.0, 8.0, -8.0], ([5, 1, 5, 3, 3], [0, 2, 0, 1, 1])), shape=(7, 3)
    )
    # Not canonical: duplicates, unsorted columns, an explicit zero.
    csr = scipy.sparse.csr_array(
        (np.array([1.0, 2.0, 4.0, 0.0]), np.array([2, 0, 2, 1]), np.array([0, 3, 3, 4])),
        shape=(3, 3),
    )
    return {
        "coo with duplicates": coo,
        "csr": coo.tocsr(),
        "csc": coo.tocsc(),
        "lil": coo.tolil(),
        "dok": coo.todok(),
        "bsr": coo.tobsr(),
        "csr, not canonical": csr,
        "csr matrix": scipy.sparse.csr_matrix(coo),
        "transposed": coo.T,
        "empty": scipy.sparse.csr_array((4, 3)),
        "no rows": scipy.sparse.csr_array((0, 3)),
        "no columns": scipy.sparse.csr_array((4, 0)),
        "full": scipy.sparse.csr_array(np.ones((2, 2))),
        "single": coo.astype(np.float32),
        "complex": coo.astype(np.complex64) * 1j,
    }


@pytest.mark.parametrize("name", matrices())
def test_from_scipy_and_back(name: str) -> None:
    matrix = matrices()[name]
    dense = matrix.toarray()
    slices = nc.IndexedSlices.from_scipy(matrix)
    assert slices.dense_shape == matrix.shape
    assert slices.values.dtype == matrix.dtype
    assert slices.indices.dtype == np.int64
    assert slices.indices.tolist() == sorted(set(slices.indices.tolist()))
    np.testing.assert_array_equal(slices.to_dense(), dense)
    back = slices.to_scipy()
    assert isinstance(back, scipy.sparse.csr_array)
    assert (back.shape, back.dtype) == (matrix.shape, matrix.dtype)
    np.testing.assert_array_equal(back.toarray(), dense)


def test_from_scipy_holds_only_rows_that_hold_something() -> None:
    slices = nc.IndexedSlices.from_scipy(matrices()["coo with duplicates"])
    assert slices.indices.tolist() == [1, 3, 5]
    assert slices.values.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("index_dtype", INDEX_DTYPES)
def test_to_scipy_is_to_dense(name: str, index_dtype: str) -> None:
    highest = min(int(np.iinfo(index_dtype).max), 999)
    values, indices = normal((4, 2), name), np.array([5, highest, 5, 0], index_dtype)
    slices = nc.IndexedSlices(values, indices, (highest + 1, 2))
    matrix = slices.to_scipy()
    assert matrix.dtype == values.dtype
    assert matrix.nnz == 3 * 2
    assert matrix.has_canonical_format
    np.testing.assert_array_equal(matrix.toarray(), slices.to_dense())
