"""Variables: arrays that optimizers update and that gradients are taken for."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from numclip import _array, _cuda_memory
from numclip._array import Array
from numclip._cuda_array import CudaArray, overlap, strides_of
from numclip._cuda_libraries import cuda_array

# A function of the array, or its lowest and its highest number.
Constraint: TypeAlias = Callable[[Any], Any] | tuple[float, float]


UNBOUNDED = (-math.inf, math.inf)


class Tape(Protocol):
    """What records the use of variables while a loss is computed."""

    def box_of(self, variable: Variable, outer: list[Tape]) -> Any:
        """Return what stands for the variable in the record, None where it is not recorded."""


class _Tapes(threading.local):
    """The tapes that record in this thread, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[Tape] = []


tapes = _Tapes()


def read(variable: Variable, stack: list[Tape]) -> Any:
    """Return the variable's array, or what stands for it on the innermost tape that records it."""
    for depth in range(len(stack) - 1, -1, -1):
        box = stack[depth].box_of(variable, stack[:depth])
        if box is not None:
            return box
    return variable.array


def _binary(function: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Variable, other: Any) -> Any:
        return function(self.value, _operand(other))

    def backward(self: Variable, other: Any) -> Any:
        return function(_operand(other), self.value)

    return forward, backward


def _operand(other: Any) -> Any:
    """Take lists for arrays, as NumPy's operators do."""
    return np.asarray(other) if isinstance(other, list | tuple) else other


class Variable:
    """Name an array that is to be trained.

    Parameters
    ----------
    initial_value : array
        The array itself, which is wrapped and not copied, so that updates change the caller's
        array; a number or a nested list becomes a new array. Floating, complex or integer.
    trainable : bool
        Whether optimizers update it, and gradients are taken for it where none are asked for by
        name. It may be changed at any time; a variable that is not trainable costs nothing.
    name : str, optional
        What error messages and slots call it.
    constraint : callable or pair of numbers, optional
        What an optimizer does with the array after each step. A function is called with the new
        numbers and returns those to keep, which only dense gradients allow, and only variables
        that share no memory with others of the step; a pair bounds each number that was updated,
        as `numclip.clip_by_value` would, while it is written.
    update_mask : array of bool, optional
        Which elements optimizers update, of the array's shape; or which of its rows, of the length
        of its first axis. The others keep their bits, in the slots too, and their gradient has no
        part in a norm. It is copied.

    Attributes
    ----------
    value : ndarray
        The array. Inside a loss whose gradient is being computed, what records it.
    trainable : bool
    name : str or None

    Raises
    ------
    TypeError
        If `initial_value` is not numbers.
    ValueError
        If `initial_value` is a read-only array, if a lower bound is above the upper one or NaN, or
        if `update_mask` is of another shape.

    Notes
    -----
    An array on a CUDA device stays there; optimizers update it there, by gradients that come from
    elsewhere. Arithmetic with it is that of its library, and none of it is recorded.

    Arithmetic, ``@`` and indexing work as on arrays, functions of `autograd.numpy` as on arrays
    that are differentiated. Plain NumPy functions take it too, but raise TypeError while its
    gradient is being computed, as the gradient would be lost in them. Comparison with ``==`` and
    hash are by identity.

    References
    ----------
    ``tf.Variable`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> weights = np.array([1.0, 2.0])
    >>> variable = nc.Variable(weights, name="weights")
    >>> variable.assign([3.0, 4.0])
    Variable(name='weights', shape=(2,), dtype=float64)
    >>> weights
    array([3., 4.])
    """

    __slots__ = ("__weakref__", "_constraint", "_dtype", "_mask", "array", "name", "trainable")

    # Above that of autograd's boxes (100), so that `array * variable` is left to __rmul__.
    __array_priority__ = 1000.0

    def __init__(
        self,
        initial_value: Any,
        trainable: bool = True,
        name: str | None = None,
        *,
        constraint: Constraint | None = None,
        update_mask: Any = None,
    ) -> None:
        if not (name is None or isinstance(name, str)):
            raise TypeError(f"`name` must be a string, got {_array.describe(name)}")
        if isinstance(initial_value, Variable):
            initial_value = _copy_of(initial_value)
        array = _array.as_tensor(
            initial_value,
            "initial_value",
            lambda dtype: _array.is_inexact(dtype) or _array.is_integer(dtype),
            f"{_array.INEXACT}, or integers",
        )
        if not isinstance(array, CudaArray) and not array.flags.writeable:
            raise ValueError("`initial_value` must be writable, got a read-only array")
        self.array: Any = _array.raw(array)
        self._dtype = array.dtype
        self._constraint = None if constraint is None else _checked_constraint(constraint, array)
        self._mask = None if update_mask is None else _checked_mask(update_mask, array)
        self.trainable = trainable
        self.name = name

    @property
    def update_mask(self) -> Any:
        """Which elements optimizers update, a boolean array of the variable's shape; None for all.

        Of a variable on a CUDA device it is there, as bytes and of one dimension.
        """
        return _array.raw(self._mask) if isinstance(self._mask, CudaArray) else self._mask

    @property
    def constraint(self) -> Constraint | None:
        """What optimizers keep the array to: a function, or a pair of bounds."""
        return self._constraint

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The constraint, if it is a pair of bounds."""
        return None if callable(self._constraint) else self._constraint

    @property
    def value(self) -> Any:
        """The array; while its gradient is being computed, what records it."""
        return read(self, tapes.stack) if tapes.stack else self.array

    def assign(self, value: Any) -> Variable:
        """Overwrite the array with another of the same shape.

        Parameters
        ----------
        value : array
            Of a dtype that NumPy casts to the variable's by "same_kind".

        Returns
        -------
        Variable
            The variable itself.

        Raises
        ------
        TypeError
            If the dtype cannot be cast.
        ValueError
            If the shape differs.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.Variable([0.0, 0.0]).assign([1.0, 2.0]).value
        array([1., 2.])
        """
        write(self, as_value_of(self, value))
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the array."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the array."""
        return len(self.array.shape)

    @property
    def size(self) -> int:
        """Number of elements of the array."""
        return math.prod(self.array.shape)

    @property
    def T(self) -> Any:
        """The array transposed, recorded as `value` is."""
        return self.value.T

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.value is not self.array:
            raise TypeError(
                f"{self!r} is being differentiated: use autograd.numpy in place of numpy, which"
                " would lose its gradient"
            )
        return np.array(self.array, dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __neg__(self) -> Any:
        return -self.value

    def __pos__(self) -> Any:
        return self.value

    def __abs__(self) -> Any:
        return abs(self.value)

    __add__, __radd__ = _binary(operator.add)
    __sub__, __rsub__ = _binary(operator.sub)
    __mul__, __rmul__ = _binary(operator.mul)
    __floordiv__, __rfloordiv__ = _binary(operator.floordiv)
    __truediv__, __rtruediv__ = _binary(operator.truediv)
    __matmul__, __rmatmul__ = _binary(operator.matmul)
    __pow__, __rpow__ = _binary(operator.pow)
    __mod__, __rmod__ = _binary(operator.mod)
    __lt__, __gt__ = _binary(operator.lt)[0], _binary(operator.gt)[0]
    __le__, __ge__ = _binary(operator.le)[0], _binary(operator.ge)[0]

    # What autograd asks of the things it differentiates; -2 is below every trace.
    @property
    def _trace(self) -> int:
        value = self.value
        return -2 if value is self.array else int(value._trace)

    @property
    def _node(self) -> Any:
        return self.value._node

    @property
    def _value(self) -> Any:
        value = self.value
        return value if value is self.array else value._value

    def __repr__(self) -> str:
        name = "" if self.name is None else f"name={self.name!r}, "
        return f"Variable({name}shape={self.shape}, dtype={self.dtype})"


def _copy_of(variable: Variable) -> Any:
    found = cuda_array(variable.array, "initial_value")
    return np.array(variable) if found is None else _cuda_memory.copied(found).array


def key_for(variable: Variable, taken: Collection[str]) -> str:
    """Return a variable's name, or what it goes by where it has none, or that is taken."""
    base = key = variable.name or "Variable"
    count = 0
    while key in taken:
        count += 1
        key = f"{base}_{count}"
    return key


def _checked_mask(update_mask: Any, array: _array.Tensor) -> Any:
    mask = _array.as_array(update_mask, "update_mask", lambda dtype: dtype == np.bool_, "booleans")
    shape = tuple(array.shape)
    if mask.shape == shape[:1]:
        mask = mask.reshape(mask.shape + (1,) * (len(shape) - 1))
    elif mask.shape != shape:
        raise ValueError(
            f"`update_mask` must be of shape {shape} or of length {shape[:1]}, got {mask.shape}"
        )
    mask = np.array(np.broadcast_to(mask, shape), order="C")
    if not isinstance(array, CudaArray):
        return mask
    return _cuda_memory.upload(mask.view(np.uint8), array)


def _checked_constraint(constraint: Any, array: _array.Tensor) -> Constraint:
    if callable(constraint):
        return constraint  # type: ignore[no-any-return]
    if not isinstance(constraint, tuple | list) or len(constraint) != 2:
        raise TypeError(
            "`constraint` must be a function or a pair of bounds,"
            f" got {_array.describe(constraint)}"
        )
    if not _array.is_floating(array.dtype):
        raise TypeError(f"`constraint` bounds floating arrays only, got one of {array.dtype}")
    numbers = [_array.as_scalar(each, f"constraint[{i}]") for i, each in enumerate(constraint)]
    lowest, highest = [float(_array.rounded(np.asarray(each), array.dtype)) for each in numbers]
    if not lowest <= highest:
        raise ValueError(f"`constraint` must not be crossed bounds or NaN, got {constraint}")
    return lowest, highest


def as_value_of(variable: Variable, value: Any) -> _array.Tensor:
    """Take what can be written to a variable's array, and bring it to where that is."""
    target = cuda_array(variable.array, "self")
    take: Any = _array.as_array if target is None else _array.as_tensor
    new = take(value, "value", lambda dtype: dtype.kind != "O", "an array")
    if new.shape != variable.shape:
        raise ValueError(f"`value` must be of shape {variable.shape}, got {new.shape}")
    if not np.can_cast(new.dtype, variable.dtype, "same_kind"):
        raise TypeError(f"`value` must be {variable.dtype}, got {_array.describe(value)}")
    if target is None and not variable.array.flags.writeable:
        raise ValueError("`self` must be writable, got a variable whose array is read-only")
    return new if target is None else _on_device(new, target)


def _on_device(new: _array.Tensor, target: CudaArray) -> CudaArray:
    """Return a copy of an array of the host, or of one that shows the target in another layout."""
    if not isinstance(new, CudaArray):
        numbers = np.ascontiguousarray(new, target.dtype)
        new = _cuda_memory.upload(numbers, target)._replace(dtype=target.dtype, shape=target.shape)
    if new.dtype != target.dtype:
        raise TypeError(f"`value` must be {target.dtype}, got {new.dtype}")
    _array.check_one_place([("self", target), ("value", new)])
    is_in_place = new.address == target.address and strides_of(new) == strides_of(target)
    return _cuda_memory.copied(new) if overlap(new, target) and not is_in_place else new


def write(variable: Variable, new: _array.Tensor) -> None:
    """Overwrite a variable's array with what `as_value_of` returned for it."""
    if not isinstance(new, CudaArray):
        np.copyto(variable.array, new, casting="same_kind")
        return
    target = cuda_array(variable.array, "self")
    assert target is not None
    _cuda_memory.copy(new, target)
