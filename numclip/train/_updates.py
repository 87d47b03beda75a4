"""The gradients of a step, checked, and what they update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from numclip import _array
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._slices import (
    IndexedSlices,
    check_groups,
    check_range,
    check_slices,
    sum_duplicates,
)
from numclip._variable import Variable
from numclip.train._clipping import Limits

GradientsAndVariables: TypeAlias = Iterable[tuple[Any, Variable]]
Pair: TypeAlias = tuple[Any, Variable]
VariablesByName: TypeAlias = Mapping[str, Variable] | Iterable[Variable]


class Given(NamedTuple):
    """Pairs of a gradient and a variable that is not held still, and where each was given."""

    pairs: Sequence[Pair]
    positions: Sequence[int]

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple([variable for _, variable in self.pairs])

    def some(self, chosen: Sequence[int]) -> Given:
        return Given([self.pairs[i] for i in chosen], [self.positions[i] for i in chosen])


class Update(NamedTuple):
    """One checked pair of gradient and variable.

    A gradient by rows comes with their indices, on a CUDA device with its groups.
    """

    gradient: Any
    rows: Any
    variable: Variable
    position: int


class Step(NamedTuple):
    """What an optimizer gives for one step.

    Its hyperparameters are a function of the type that is computed in. With `takes_all_rows` those
    for a gradient by rows update all rows, the others by zero.
    """

    hyperparameters: Callable[[type[Any]], Any]
    row_hyperparameters: Callable[[type[Any]], Any]
    takes_all_rows: bool
    limits: Limits
    slots_of: Callable[[Variable], Sequence[Variable]]


class Plan(Protocol):
    """What is known of variables that a step comes with, and stays so until the next."""

    @property
    def variables(self) -> tuple[Variable, ...]: ...


class Updates(Protocol):
    """The updates of a step that are in one place."""

    @property
    def plan(self) -> Plan | None:
        """What the next step may go by, if it comes with the same variables."""

    @property
    def has_all_slots(self) -> bool:
        """Whether all slots are known to be made, and to be of their variables' sizes."""

    @property
    def variables(self) -> Sequence[Variable]: ...

    @property
    def norms(self) -> Any:
        """Those of the gradients that `clip` has taken, an array on the host or on the device."""

    @property
    def entries(self) -> Any:
        """A table of where gradients, variables and slots lie; None if that takes more to say."""

    @property
    def own_their_data(self) -> bool:
        """Whether those are arrays that overlap only if they are the same."""

    def clip(self, limits: Limits) -> Any:
        """Find what brings the gradients to the limits; return their norm, if it is needed."""

    def share(self, other: Any, rows: Sequence[int]) -> None:
        """Take what was found for the same gradients among others, at these positions."""

    def constrain(self, step: Step) -> None:
        """Compute elsewhere what functions constrain; they may raise, and nothing has changed."""

    def apply(self, step: Step) -> None:
        """Update the variables, once all that `constrain` does has been done."""


def as_given(
    grads_and_vars: GradientsAndVariables | Mapping[str, Any], variables: VariablesByName | None
) -> Given:
    """Take pairs, or a dict and the variables of its names; leave out what updates nothing."""
    pairs = as_pairs(grads_and_vars, variables)
    positions = range(len(pairs))
    updates = [gradient is not None and variable.trainable for gradient, variable in pairs]
    if all(updates):
        return Given(pairs, positions)
    if not any(updates):
        names = [variable for _, variable in pairs]
        raise ValueError(f"`grads_and_vars` has no gradient for any trainable variable of {names}")
    return Given(pairs, positions).some(list(compress(positions, updates)))


def as_pairs(
    grads_and_vars: GradientsAndVariables | Mapping[str, Any], variables: VariablesByName | None
) -> list[Pair]:
    """Take pairs, or a dict and the variables of its names."""
    if isinstance(grads_and_vars, Mapping):
        return _checked_pairs(_by_name(grads_and_vars, variables))
    if variables is not None:
        raise TypeError(
            "`variables` is for gradients by name: `grads_and_vars` must be a dict then"
        )
    return _checked_pairs(grads_and_vars)


def _by_name(gradients: Mapping[str, Any], variables: VariablesByName | None) -> list[Pair]:
    if variables is None:
        raise TypeError("`variables` must be given with a dict of gradients: it has their names")
    if isinstance(variables, Mapping):
        named = dict(variables)
    else:
        if isinstance(variables, Variable) or not isinstance(variables, Iterable):
            raise TypeError(
                "`variables` must be Variables, or a dict of name to Variable,"
                f" got {_array.describe(variables)}"
            )
        named = {}
        for i, variable in enumerate(variables):
            if not isinstance(variable, Variable):
                raise TypeError(
                    f"`variables[{i}]` must be a Variable, got {_array.describe(variable)}"
                )
            if variable.name in named:
                raise ValueError(f"`variables` has two of the name {variable.name!r}")
            named[variable.name] = variable
    for name in gradients:
        if name not in named:
            raise ValueError(
                f"`grads_and_vars[{name!r}]` must be of one of the `variables`, {list(named)}"
            )
    return [(gradient, named[name]) for name, gradient in gradients.items()]


def _checked_pairs(grads_and_vars: GradientsAndVariables) -> list[Pair]:
    if not isinstance(grads_and_vars, Iterable):
        raise TypeError(
            "`grads_and_vars` must be pairs of gradient and variable, or a dict of name to"
            f" gradient, got {_array.describe(grads_and_vars)}"
        )
    pairs = list(grads_and_vars)
    if not pairs:
        raise ValueError("`grads_and_vars` must not be empty: no variables provided")
    # One comprehension each, as a call for each of 1,000 pairs takes 100 us.
    if not all([type(pair) is tuple and len(pair) == 2 for pair in pairs]) or not all(
        [type(variable) is Variable for _, variable in pairs]
    ):
        return [_as_pair(pair, i) for i, pair in enumerate(pairs)]
    return pairs


def _as_pair(pair: Any, position: int) -> Pair:
    argument = f"grads_and_vars[{position}]"
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"`{argument}` must be a pair of gradient and variable, got {_array.describe(pair)}"
        )
    gradient, variable = pair
    if not isinstance(variable, Variable):
        raise TypeError(f"`{argument}[1]` must be a Variable, got {_array.describe(variable)}")
    return gradient, variable


def check_pairs(given: Given, sums_duplicates: bool) -> list[Update]:
    return [
        _check_pair(gradient, variable, position, sums_duplicates)
        for (gradient, variable), position in zip(*given, strict=True)
    ]


def check_variable(variable: Variable, argument: str) -> CudaArray | None:
    """Return where a variable that can be updated is, None for one on the host."""
    if not _array.is_floating(variable.dtype):
        raise TypeError(f"`{argument}` must be floating, got {variable!r}")
    mask = variable.update_mask
    # On a device a mask has one axis.
    if mask is not None and mask.size != variable.size:
        raise ValueError(
            f"`{argument}` must have as many elements as its mask, {mask.size}, got {variable!r}"
        )
    on_device = cuda_array(variable.array, argument)
    if on_device is None and not variable.array.flags.writeable:
        raise ValueError(f"`{argument}` must be writable, got a read-only {variable!r}")
    dtype = variable.array.dtype if on_device is None else on_device.dtype
    if not _array.same_dtype(dtype, variable.dtype):
        raise TypeError(
            f"`{argument}` must have an array of its dtype, got one of {dtype} in {variable!r}"
        )
    return on_device


def _check_pair(gradient: Any, variable: Variable, position: int, sums_duplicates: bool) -> Update:
    on_device = check_variable(variable, f"grads_and_vars[{position}][1]")
    argument = f"grads_and_vars[{position}][0]"
    if isinstance(gradient, IndexedSlices):
        return _check_slices(gradient, variable, on_device, position, sums_duplicates)
    if isinstance(gradient, list | tuple):
        _array.as_real(gradient, argument)
    # Numbers of NumPy have a dtype, which has to be the variable's as that of an array.
    if isinstance(gradient, int | float | list | tuple) and not isinstance(gradient, np.generic):
        gradient = np.asarray(gradient, variable.dtype)
    array = _array.as_tensor(gradient, argument)
    _check_place(array, variable, on_device, argument)
    if not _array.same_dtype(array.dtype, variable.dtype):
        raise TypeError(
            f"`{argument}` must be of dtype {variable.dtype}, got {array.dtype} for {variable!r}"
        )
    if array.shape != variable.shape:
        raise ValueError(
            f"`{argument}` must be of shape {variable.shape}, got {array.shape} for {variable!r}"
        )
    return Update(array, None, variable, position)


def _check_slices(
    gradient: IndexedSlices,
    variable: Variable,
    on_device: CudaArray | None,
    position: int,
    sums_duplicates: bool,
) -> Update:
    argument = f"grads_and_vars[{position}][0]"
    if not variable.shape:
        raise ValueError(f"`{argument}` must be dense, as it is for {variable!r}")
    if gradient.shape is not None and gradient.shape != variable.shape:
        raise ValueError(
            f"`{argument}` must be of shape {variable.shape}, got {gradient.shape} for {variable!r}"
        )
    if callable(variable.constraint):
        raise TypeError(
            f"`{argument}` must be dense, got IndexedSlices: a constraint that is a function"
            f" takes all rows for {variable!r}"
        )
    slices = IndexedSlices(gradient.values, gradient.indices, variable.shape)
    values, indices = check_slices(slices, argument)
    if not _array.same_dtype(values.dtype, variable.dtype):
        raise TypeError(
            f"`{argument}` must be of dtype {variable.dtype}, got {values.dtype} for {variable!r}"
        )
    _check_place(values, variable, on_device, argument)
    if on_device is not None:
        groups = check_groups(indices, variable.shape, argument)
        return Update(values, groups, variable, position)
    if sums_duplicates:
        values, indices = sum_duplicates(values, indices, variable.shape, argument)
    else:
        check_range(indices, variable.shape, argument)
    return Update(values, np.ascontiguousarray(indices, np.int64), variable, position)


def _check_place(
    array: _array.Tensor, variable: Variable, on_device: CudaArray | None, argument: str
) -> None:
    if on_device is not None or isinstance(array, CudaArray):
        place = variable.array if on_device is None else on_device
        _array.check_one_place([("variable", place), (argument, array)])
