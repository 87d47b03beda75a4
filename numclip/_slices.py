"""Sparse gradients: some rows of a larger array."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numclip import _array, _cuda_memory, _threads
from numclip._array import Array, Tensor
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._kernels.rows import add_rows, add_rows_parallel, group_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from numclip._cuda_slices import Groups


class IndexedSlices(NamedTuple):
    r"""Hold a gradient of which only some rows are not zero.

    Row ``indices[i]`` of the dense array is ``values[i]``; where an index occurs more than once,
    its rows are summed.

    Parameters
    ----------
    values : array of shape (n, ...)
        The rows, of any dtype that the function at hand takes, on the host or on a CUDA device.
    indices : integer array of shape (n,)
        Where each of them belongs, zero or more; where the values are.
    dense_shape : tuple of int, optional
        Shape of the dense array, ``(rows, ...)``. Without it the slices cannot become dense.

    Notes
    -----
    Nothing is checked or copied when the tuple is made; the functions that use it check it. It is
    a `NamedTuple`, so Numba takes it as it is. ``*`` and unary minus act on the values, ``+``
    joins two IndexedSlices and makes a dense array of IndexedSlices and an array. Equality and
    hash are by identity.

    References
    ----------
    ``tf.IndexedSlices`` of TensorFlow, from which the order of the fields is taken.

    Examples
    --------
    >>> import numclip as nc
    >>> gradient = nc.IndexedSlices([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [2, 0, 2], (4, 2))
    >>> gradient.to_dense()
    array([[3., 4.],
           [0., 0.],
           [6., 8.],
           [0., 0.]])
    """

    values: Any
    indices: Any
    dense_shape: Any = None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of the dense array, None where it is not known."""
        return None if self.dense_shape is None else tuple(map(operator.index, self.dense_shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return _array.as_tensor(self.values, "self.values", lambda dtype: True).dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        # NumPy would take it for the tuple that it is.
        raise TypeError("IndexedSlices are no array: `to_dense` makes one of them")

    def coalesce(self) -> IndexedSlices:
        """Sum the rows that share an index.

        The sums are taken in float64 in order of occurrence and rounded once, the rows come in
        order of the first occurrence of their index. A NaN or an infinity spreads over its own
        column of its own row only. The time is linear in the number of values. A CUDA device is
        waited for twice: for the range of the indices, and for how many rows are left.

        Returns
        -------
        IndexedSlices
            With indices that differ from one another, of the same dtypes.

        Raises
        ------
        TypeError
            If the values are not floating or complex, or the indices not integers.
        ValueError
            If the shapes do not fit each other.
        IndexError
            If an index is negative or not below ``dense_shape[0]``.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.IndexedSlices([[1.0], [2.0], [3.0]], [7, 5, 7]).coalesce()
        IndexedSlices(values=array([[4.],
               [2.]]), indices=array([7, 5]), dense_shape=None)
        """
        values, indices = check_slices(self, "self")
        if isinstance(values, CudaArray):
            return _coalesced(self, values, indices)
        summed, distinct = sum_duplicates(values, indices, self.shape, "self")
        return IndexedSlices(
            summed.astype(values.dtype, copy=False),
            distinct.astype(indices.dtype, copy=False),
            self.dense_shape,
        )

    def to_dense(self) -> Any:
        """Return the dense array, with duplicates summed as by `coalesce` and zeros elsewhere.

        A CUDA device is waited for, as the range of the indices has to be known.

        Returns
        -------
        array
            Of shape ``dense_shape`` and the values' dtype.

        Raises
        ------
        TypeError
            If the values are not floating or complex, or the indices not integers.
        ValueError
            If ``dense_shape`` is None or the shapes do not fit each other.
        IndexError
            If an index is negative or not below ``dense_shape[0]``.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.IndexedSlices([1.0, 2.0, 4.0], [1, 0, 1], (3,)).to_dense()
        array([2., 5., 0.])
        """
        shape = require_shape(self, "self")
        values, indices = check_slices(self, "self")
        if isinstance(values, CudaArray):
            return _scattered(self, values, indices, shape)
        distinct, *groups = _grouped(indices, shape, "self")
        dense = np.zeros(shape, values.dtype.newbyteorder("="))
        _add_duplicates(values, groups, distinct, dense)
        return dense.astype(values.dtype, copy=False)

    @staticmethod
    def from_scipy(matrix: Any) -> IndexedSlices:
        """Take the rows of a `scipy.sparse` matrix or array that hold anything.

        Parameters
        ----------
        matrix : scipy.sparse matrix or 2-D array
            Of any format; duplicate entries are summed, as SciPy does.

        Returns
        -------
        IndexedSlices
            With sorted indices, int64, and ``dense_shape = matrix.shape``.

        Raises
        ------
        TypeError
            If `matrix` is not one of `scipy.sparse`, or is not of two dimensions.

        Examples
        --------
        >>> import scipy.sparse, numclip as nc
        >>> matrix = scipy.sparse.coo_array(([1.0, 2.0], ([3, 1], [0, 1])), shape=(5, 2))
        >>> nc.IndexedSlices.from_scipy(matrix)
        IndexedSlices(values=array([[0., 2.],
               [1., 0.]]), indices=array([1, 3]), dense_shape=(5, 2))
        """
        import scipy.sparse

        if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
            raise TypeError(
                f"`matrix` must be a 2-D scipy.sparse matrix, got {_array.describe(matrix)}"
            )
        compressed = matrix.tocsr()
        indices = np.flatnonzero(np.diff(compressed.indptr))
        return IndexedSlices(compressed[indices].toarray(), indices, matrix.shape)

    def to_scipy(self) -> csr_array:
        """Return a `scipy.sparse.csr_array` of the same entries, duplicates summed.

        Every entry of a row that is held is stored, zeros too.

        Returns
        -------
        scipy.sparse.csr_array
            Of shape ``dense_shape`` and the values' dtype.

        Raises
        ------
        TypeError
            If the values are of a dtype that SciPy has no sparse arrays of: a half.
        ValueError
            If ``dense_shape`` is None or not of two dimensions, or the shapes do not fit.
        IndexError
            If an index is negative or not below ``dense_shape[0]``.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.IndexedSlices([[1.0, 2.0]], [1], (3, 2)).to_scipy().toarray()
        array([[0., 0.],
               [1., 2.],
               [0., 0.]])
        """
        import scipy.sparse

        shape = require_shape(self, "self")
        if len(shape) != 2:
            raise ValueError(f"`self.dense_shape` must have two dimensions, got {shape}")
        _array.as_array(self.values, "self.values")
        values, indices, _ = self.coalesce()
        if values.dtype.itemsize < 4:
            raise TypeError(f"`self.values`: scipy.sparse has no arrays of dtype {values.dtype}")
        indices = indices.astype(np.int64)
        order = np.argsort(indices)
        counts = np.zeros(shape[0] + 1, np.int64)
        counts[indices + 1] = shape[1]
        columns = np.tile(np.arange(shape[1]), indices.size)
        return scipy.sparse.csr_array(
            (values[order].reshape(-1), columns, np.cumsum(counts)), shape=shape
        )

    def __neg__(self) -> IndexedSlices:
        return self._replace(values=-_operand_of(self.values))

    def __mul__(self, other: Any) -> IndexedSlices:
        if isinstance(other, IndexedSlices):
            return NotImplemented
        return self._replace(values=_operand_of(self.values) * other)

    def __rmul__(self, other: Any) -> IndexedSlices:
        return self.__mul__(other)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, IndexedSlices):
            return self.to_dense() + other
        if None not in (self.shape, other.shape) and self.shape != other.shape:
            raise ValueError(f"`dense_shape` must agree, got {self.shape} and {other.shape}")
        return IndexedSlices(
            *_joined(self, other),
            other.dense_shape if self.dense_shape is None else self.dense_shape,
        )

    def __radd__(self, other: Any) -> Any:
        # What `sum` starts with.
        return self if type(other) is int and other == 0 else self + other

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


# Lets NumPy's arrays and scalars leave `array * slices` to __rmul__.
IndexedSlices.__array_ufunc__ = None  # type: ignore[attr-defined]


def _add_duplicates(values: Array, groups: Sequence[Array], rows: Array, out: Array) -> None:
    """Sum the values of each group, and store the sums in these rows of `out`."""
    arguments = (_array.read_only(as_rows(values)), *groups, rows, as_rows(out))
    _threads.in_parts(values.size, rows.size, add_rows, add_rows_parallel, *arguments)


def _operand_of(values: Any) -> Any:
    """Return what NumPy computes with, or the library that a CUDA array comes from."""
    return values if cuda_array(values, "self.values") else np.asarray(values)


def _joined(first: IndexedSlices, second: IndexedSlices) -> tuple[Any, Any]:
    if cuda_array(first.values, "self.values") is None:
        return (
            np.concatenate([first.values, second.values]),
            np.concatenate(_same_integers(first.indices, second.indices)),
        )
    from numclip._cuda_slices import join

    parts = [check_lengths(slices, name) for slices, name in ((first, "self"), (second, "other"))]
    named: list[tuple[str, Tensor]] = [
        ("self.values", parts[0][0]),
        ("other.values", parts[1][0]),
    ]
    _array.check_one_place(named)
    values, indices = zip(*parts, strict=True)
    return join(values, "values"), join(indices, "indices")


def _same_integers(*indices: Any) -> list[Array]:
    """Return integers of one dtype, int64 where theirs differ."""
    arrays = [_array.as_integers(each, "indices") for each in indices]
    dtype = arrays[0].dtype if len({array.dtype for array in arrays}) == 1 else np.int64
    return [array.astype(dtype, copy=False) for array in arrays]


def _int64(indices: Array) -> Array:
    return _array.read_only(np.ascontiguousarray(indices, np.int64).view())


def as_rows(array: Array) -> Array:
    """Return the array as a matrix for kernels, with its first dimension as rows."""
    numbers = _array.flat(array)
    return numbers.reshape(array.shape[0], -1) if array.size else numbers.reshape(len(array), 0)


def require_shape(slices: IndexedSlices, argument: str) -> tuple[int, ...]:
    """Return the dense shape, once the values are known to fit it."""
    check_slices(slices, argument)
    shape = _shape_of(slices, argument)
    if shape is None:
        raise ValueError(f"`{argument}.dense_shape` must be given, got None")
    return shape


def _shape_of(slices: IndexedSlices, argument: str) -> tuple[int, ...] | None:
    try:
        shape = slices.shape
    except TypeError as error:
        raise TypeError(
            f"`{argument}.dense_shape` must be a tuple of integers,"
            f" got {_array.describe(slices.dense_shape)}"
        ) from error
    if shape is not None and min(shape, default=0) < 0:
        raise ValueError(f"`{argument}.dense_shape` must not be negative, got {shape}")
    return shape


def check_slices(slices: IndexedSlices, argument: str) -> tuple[Any, Any]:
    """Return values and indices as arrays, once their shapes are known to fit together.

    The range of the indices is known when they are grouped, and checked then.
    """
    values, indices = check_lengths(slices, argument)
    shape = _shape_of(slices, argument)
    if shape is not None and (not shape or shape[1:] != values.shape[1:]):
        raise ValueError(
            f"`{argument}.values` must have rows of the shape that `dense_shape` {shape} says,"
            f" got {values.shape[1:]}"
        )
    return values, indices


def _grouped(
    indices: Array, shape: tuple[int, ...] | None, argument: str
) -> tuple[Array, Array, Array]:
    """Group indices, and check their range."""
    distinct, first, following, lowest, highest = group_rows(_int64(indices))
    if indices.size:
        _check_range(lowest, highest, shape, argument)
    return distinct, first, following


def check_range(indices: Array, shape: tuple[int, ...], argument: str) -> None:
    """Check the range of indices that are not to be grouped."""
    if indices.size:
        _check_range(int(indices.min()), int(indices.max()), shape, argument)


def sum_duplicates(
    values: Array, indices: Array, shape: tuple[int, ...] | None, argument: str
) -> tuple[Array, Array]:
    """Return rows of which those that share an index are summed, and the indices."""
    distinct, *groups = _grouped(indices, shape, argument)
    summed = np.empty((distinct.size, *values.shape[1:]), values.dtype.newbyteorder("="))
    _add_duplicates(values, groups, np.arange(distinct.size), summed)
    return summed, distinct


def check_groups(indices: CudaArray, shape: tuple[int, ...] | None, argument: str) -> Groups:
    """Group indices on the device, and check their range."""
    from numclip._cuda_slices import groups_of

    groups = groups_of(indices)
    _check_range(groups.lowest, groups.highest, shape, argument)
    return groups


def _check_range(lowest: int, highest: int, shape: tuple[int, ...] | None, argument: str) -> None:
    if lowest < 0:
        raise IndexError(f"`{argument}.indices` must not be negative, got {lowest}")
    count = 2**63 if shape is None else shape[0]
    if highest >= count:
        raise IndexError(f"`{argument}.indices` must be below {count}, got {highest}")


def _coalesced(slices: IndexedSlices, values: CudaArray, indices: CudaArray) -> IndexedSlices:
    from numclip._cuda_slices import sum_groups

    groups = check_groups(indices, slices.shape, "self")
    return IndexedSlices(*sum_groups(values, groups, indices.dtype), slices.dense_shape)


def _scattered(
    slices: IndexedSlices, values: CudaArray, indices: CudaArray, shape: tuple[int, ...]
) -> Any:
    from numclip._cuda_slices import scatter_groups

    groups = check_groups(indices, shape, "self")
    dense = _cuda_memory.full(shape, np.zeros((), values.dtype)[()], values)
    scatter_groups(values, groups, dense)
    return dense.array


def check_lengths(
    slices: IndexedSlices,
    argument: str,
    accepts: Callable[[np.dtype[Any]], bool] = _array.is_inexact,
    expected: str = _array.INEXACT,
) -> tuple[Tensor, Tensor]:
    """Return values and indices as arrays, once there is one index to a row."""
    values = _array.as_tensor(slices.values, f"{argument}.values", accepts, expected)
    indices = _array.as_integer_tensor(slices.indices, f"{argument}.indices")
    if indices.ndim != 1 or values.ndim == 0 or values.shape[0] != indices.shape[0]:
        raise ValueError(
            f"`{argument}.indices` must be one index to a row of values,"
            f" got shape {indices.shape} for values of shape {values.shape}"
        )
    if isinstance(values, CudaArray) or isinstance(indices, CudaArray):
        _array.check_one_place([(f"{argument}.values", values), (f"{argument}.indices", indices)])
    return values, indices
