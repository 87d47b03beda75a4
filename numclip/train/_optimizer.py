"""What all optimizers share: checks, slots, and the loop over the variables of a step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from numclip import _array, _cuda_memory
from numclip._array import Array
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array, may_be_cuda
from numclip._slices import IndexedSlices, check_groups, check_slices
from numclip._variable import Variable
from numclip.train._loop import Loop

if TYPE_CHECKING:
    from numclip.train._cuda import PlainUpdates

GradientsAndVariables: TypeAlias = Iterable[tuple[Any, Variable]]
Hyperparameter: TypeAlias = "float | Callable[[], float]"


class _Update(NamedTuple):
    """One checked pair of gradient and variable.

    A gradient by rows comes with their indices, on a CUDA device with its groups.
    """

    gradient: Any
    rows: Any
    variable: Variable


class Optimizer(ABC):
    """Update variables by their gradients.

    This is the interface; each of its subclasses is one algorithm. ``GATE_NONE``, ``GATE_OP`` and
    ``GATE_GRAPH`` are TensorFlow's constants for `compute_gradients`.
    """

    GATE_NONE: ClassVar[int] = 0
    GATE_OP: ClassVar[int] = 1
    GATE_GRAPH: ClassVar[int] = 2

    _slot_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str) -> None:
        if not name:
            raise ValueError("`name` must not be empty: it names the slots")
        self._name = name
        self._slots: dict[Variable, dict[str, Variable]] = {}

    @abstractmethod
    def _begin_step(self) -> None:
        """Read the hyperparameters for a step; raise if one is not a number."""

    @abstractmethod
    def _dense_loop(self, kind: type[np.floating[Any]]) -> Loop:
        """Return the step over numbers that are computed in float32, or in float64."""

    @abstractmethod
    def _row_loop(self, kind: type[np.floating[Any]]) -> Loop:
        """Return the step over rows, some of which have a gradient."""

    def _sum_duplicates(self, gradient: IndexedSlices) -> IndexedSlices:
        return gradient.coalesce()

    def _initial_slot(self, name: str) -> float:
        return 0.0

    def _end_step(self) -> None:  # noqa: B027
        """Advance what is kept once for all variables, where there is any."""

    def get_name(self) -> str:
        """Return the name that the optimizer was given.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.train.AdamOptimizer().get_name()
        'Adam'
        """
        return self._name

    def compute_gradients(
        self,
        loss: Callable[[], Any],
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Variable]]:
        """Return pairs of gradient and variable, for `apply_gradients`.

        Parameters
        ----------
        loss : callable
            A function without arguments that reads Variables and returns floating numbers; of
            more than one element, their sum is differentiated.
        var_list : iterable of Variable, optional
            By default the trainable variables that the loss reads, in the order in which it does.
        gate_gradients : {GATE_NONE, GATE_OP, GATE_GRAPH}
            Checked, and without effect: nothing runs in parallel with a gradient.
        aggregation_method : {None, 0, 1, 2}
            Checked, and without effect: gradients of several uses are added as they come.
        colocate_gradients_with_ops : bool
            Without effect.
        grad_loss : array, optional
            Weights of the loss's elements, ones by default.

        Returns
        -------
        list of (gradient, variable)
            A gradient is an array of its variable's shape and dtype, IndexedSlices where only
            `numclip.gather` used it, None where the loss does not depend on it.

        Raises
        ------
        TypeError
            If `loss` is not callable or does not return floating numbers.
        ValueError
            If `gate_gradients`, `aggregation_method` or the shape of `grad_loss` is wrong.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.compute_gradients`` of TensorFlow.

        Examples
        --------
        >>> import numclip as nc
        >>> x = nc.Variable([1.0, 2.0], name="x")
        >>> nc.train.GradientDescentOptimizer(0.1).compute_gradients(lambda: (x**2).sum())
        [(array([2., 4.]), Variable(name='x', shape=(2,), dtype=float64))]
        """
        from numclip._gradient import as_variables, differentiate

        if gate_gradients not in (self.GATE_NONE, self.GATE_OP, self.GATE_GRAPH):
            raise ValueError(
                "`gate_gradients` must be Optimizer.GATE_NONE, GATE_OP or GATE_GRAPH,"
                f" got {gate_gradients}"
            )
        if aggregation_method not in (None, 0, 1, 2):
            raise ValueError(
                f"`aggregation_method` must be None, 0, 1 or 2, got {aggregation_method}"
            )
        variables = None if var_list is None else as_variables(var_list, "var_list")
        _, pairs = differentiate([loss], variables, [grad_loss])
        return pairs

    def minimize(
        self,
        loss: Callable[[], Any],
        global_step: Any = None,
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> None:
        """Take one step: `compute_gradients`, then `apply_gradients`.

        Parameters
        ----------
        loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
            As of `compute_gradients`.
        global_step, name
            As of `apply_gradients`.

        Raises
        ------
        TypeError, ValueError, IndexError
            As those two, and ValueError if no variable has a gradient.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.minimize`` of TensorFlow.

        Examples
        --------
        >>> import numclip as nc
        >>> x = nc.Variable([1.0, 2.0])
        >>> nc.train.GradientDescentOptimizer(0.25).minimize(lambda: (x**2).sum())
        >>> x.value
        array([0.5, 1. ])
        """
        pairs = self.compute_gradients(
            loss,
            var_list,
            gate_gradients,
            aggregation_method,
            colocate_gradients_with_ops,
            grad_loss,
        )
        self.apply_gradients(pairs, global_step, name)

    def apply_gradients(
        self,
        grads_and_vars: GradientsAndVariables,
        global_step: Any = None,
        name: str | None = None,
    ) -> None:
        """Update variables by gradients.

        Everything is checked before the first number is written. Nothing waits for a CUDA device,
        but for the range of the indices of IndexedSlices.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            A gradient is an array of its variable's shape and dtype, IndexedSlices of some of its
            rows, or None, which leaves the variable as it is. It is where its variable is, on the
            host or on a CUDA device. A variable given twice is updated twice, in order.
        global_step : Variable or integer array, optional
            A scalar that is incremented by one after the updates.
        name : str, optional
            Opens the message of an error.

        Raises
        ------
        TypeError
            If a gradient is not of its variable's dtype, or something is no array or Variable.
        ValueError
            If there is no gradient, or one is not of its variable's shape.
        IndexError
            If a row is out of range.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.apply_gradients`` of TensorFlow.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable([1.0, 2.0])
        >>> step = nc.Variable(0)
        >>> optimizer = nc.train.GradientDescentOptimizer(0.5)
        >>> optimizer.apply_gradients([(np.array([2.0, 2.0]), x)], global_step=step)
        >>> x.value, step.value
        (array([0., 1.]), array(1))
        """
        if name is not None:
            with _array.named(name):
                return self.apply_gradients(grads_and_vars, global_step)
        pairs = _as_pairs(grads_and_vars)
        plain = _plain_on_device(pairs)
        updates = [] if plain is not None else self._check_pairs(pairs)
        step = None if global_step is None else _check_step(global_step)
        self._begin_step()
        variables = [u.variable for u in updates] if plain is None else plain.variables
        made = {
            variable: self._make_slots(variable)
            for variable in variables
            if variable not in self._slots
        }
        self._slots.update(made)
        if plain is not None:
            names = self._slot_names
            slots = [[self._slots[v][slot].array for v in variables] for slot in names]
            plain.update(slots, self._dense_loop)
        on_device = [update for update in updates if isinstance(update.gradient, CudaArray)]
        for update in updates:
            if not isinstance(update.gradient, CudaArray):
                self._apply(update)
        if on_device:
            self._apply_on_device(on_device)
        self._end_step()
        if step is not None:
            step += 1

    def _check_pairs(self, pairs: list[tuple[Any, Variable]]) -> list[_Update]:
        updates = [
            self._check_pair(gradient, variable, i)
            for i, (gradient, variable) in enumerate(pairs)
            if gradient is not None
        ]
        return self._protected(updates)

    def _protected(self, updates: list[_Update]) -> list[_Update]:
        """Copy gradients that show what the step changes: they have to be what they were before."""
        changed = {id(_array.owner(update.variable.array)) for update in updates}
        return [
            update
            if isinstance(update.gradient, CudaArray)
            or id(_array.owner(update.gradient)) not in changed
            else update._replace(gradient=update.gradient.copy())
            for update in updates
        ]

    def _check_pair(self, gradient: Any, variable: Variable, position: int) -> _Update:
        argument = f"grads_and_vars[{position}][0]"
        where = f" for {variable!r}"
        if not _array.is_floating(variable.dtype):
            raise TypeError(f"`grads_and_vars[{position}][1]` must be floating, got {variable!r}")
        on_device = cuda_array(variable.array, f"grads_and_vars[{position}][1]")
        if on_device is None and not variable.array.flags.writeable:
            raise ValueError(
                f"`grads_and_vars[{position}][1]` must be writable, got a read-only {variable!r}"
            )
        if isinstance(gradient, IndexedSlices):
            return self._check_slices(gradient, variable, argument)
        if isinstance(gradient, int | float | list | tuple):
            gradient = np.asarray(gradient, variable.dtype)
        array = _array.as_tensor(gradient, argument)
        self._check_place(array, variable, on_device, argument)
        if not _array.same_dtype(array.dtype, variable.dtype):
            raise TypeError(
                f"`{argument}` must be of dtype {variable.dtype}, got {array.dtype}{where}"
            )
        if array.shape != variable.shape:
            raise ValueError(
                f"`{argument}` must be of shape {variable.shape}, got {array.shape}{where}"
            )
        return _Update(array, None, variable)

    def _check_slices(self, gradient: IndexedSlices, variable: Variable, argument: str) -> _Update:
        where = f" for {variable!r}"
        if not _array.same_dtype(gradient.dtype, variable.dtype):
            raise TypeError(
                f"`{argument}` must be of dtype {variable.dtype}, got {gradient.dtype}{where}"
            )
        if not variable.shape:
            raise ValueError(f"`{argument}` must be dense, as it is{where}")
        if gradient.shape is not None and gradient.shape != variable.shape:
            raise ValueError(
                f"`{argument}` must be of shape {variable.shape}, got {gradient.shape}{where}"
            )
        gradient = gradient._replace(dense_shape=variable.shape)
        values, indices = check_slices(gradient, argument)
        on_device = cuda_array(variable.array, "variable")
        self._check_place(values, variable, on_device, argument)
        if on_device is not None:
            return _Update(values, check_groups(indices, variable.shape, argument), variable)
        summed = self._sum_duplicates(gradient)
        values, indices = check_slices(summed, argument)
        return _Update(values, np.ascontiguousarray(indices, np.int64), variable)

    def _check_place(
        self, array: _array.Tensor, variable: Variable, on_device: CudaArray | None, argument: str
    ) -> None:
        if on_device is not None or isinstance(array, CudaArray):
            place = variable.array if on_device is None else on_device
            _array.check_one_place([("variable", place), (argument, array)])

    def _make_slots(self, variable: Variable) -> dict[str, Variable]:
        slots = {}
        for i, slot_name in enumerate(self._slot_names):
            array = _full(variable, self._initial_slot(slot_name))
            suffix = f"_{i}" if i else ""
            name = f"{variable.name or 'Variable'}/{self._name}{suffix}"
            slots[slot_name] = Variable(array, trainable=False, name=name)
        return slots

    def _apply(self, update: _Update) -> None:
        slots = self._slots[update.variable]
        targets = [update.variable.array, *(slots[name].array for name in self._slot_names)]
        buffers = [_array.working_copy(target) for target in targets]
        gradient = _array.numbers_of(update.gradient, buffers[0])
        views = [_array.flat(buffer) for buffer in buffers]
        kind = compute_type(update.variable.dtype)
        if update.rows is None:
            loop = self._dense_loop(kind)
            loop.kernel(loop.hyperparameters, views[0], gradient, *views[1:])
        elif views[0].size:
            loop = self._row_loop(kind)
            width = math.prod(update.variable.shape[1:])
            numbers, *others = (view.reshape(-1, width) for view in views)
            loop.kernel(
                loop.hyperparameters,
                numbers,
                gradient.reshape(update.rows.size, width),
                _array.read_only(update.rows.view()),
                *others,
            )
        for buffer, target in zip(buffers, targets, strict=True):
            _array.deliver(buffer, target)

    def _apply_on_device(self, updates: list[_Update]) -> None:
        from numclip.train import _cuda

        _cuda.update_on_device(
            [
                _cuda.DeviceUpdate(
                    update.gradient,
                    update.rows,
                    _on_device(update.variable),
                    [_on_device(self._slots[update.variable][name]) for name in self._slot_names],
                )
                for update in updates
            ],
            self._dense_loop,
            self._row_loop,
        )

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """Return a slot of a variable, None before it has one.

        Parameters
        ----------
        var : Variable
            A variable that was updated.
        name : str
            One of `get_slot_names`.

        Returns
        -------
        Variable or None
            Of the variable's shape and dtype.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.get_slot`` of TensorFlow.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable([1.0])
        >>> optimizer = nc.train.AdamOptimizer()
        >>> optimizer.apply_gradients([(np.array([2.0]), x)])
        >>> optimizer.get_slot(x, "m").value
        array([0.2])
        """
        return self._slots.get(var, {}).get(name)

    def get_slot_names(self) -> list[str]:
        """Return the names of the slots in alphabetical order.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.train.AdamOptimizer().get_slot_names()
        ['m', 'v']
        """
        return sorted(self._slot_names)

    def variables(self) -> list[Variable]:
        """Return all slots, sorted by name.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> optimizer = nc.train.AdamOptimizer()
        >>> optimizer.apply_gradients([(np.array([2.0]), nc.Variable([1.0], name="x"))])
        >>> [slot.name for slot in optimizer.variables()]
        ['x/Adam', 'x/Adam_1']
        """
        slots = [slot for slots in self._slots.values() for slot in slots.values()]
        return sorted(slots, key=lambda slot: slot.name or "")


def _as_pairs(grads_and_vars: GradientsAndVariables) -> list[tuple[Any, Variable]]:
    if not isinstance(grads_and_vars, Iterable):
        raise TypeError(
            "`grads_and_vars` must be pairs of gradient and variable,"
            f" got {_array.describe(grads_and_vars)}"
        )
    pairs = [_as_pair(pair, i) for i, pair in enumerate(grads_and_vars)]
    if not pairs:
        raise ValueError("`grads_and_vars` must not be empty: no variables provided")
    if all(gradient is None for gradient, _ in pairs):
        variables = [variable for _, variable in pairs]
        raise ValueError(f"`grads_and_vars` has no gradient for any variable of {variables}")
    return pairs


def _plain_on_device(pairs: list[tuple[Any, Variable]]) -> PlainUpdates | None:
    """Return updates of plain CUDA arrays; None for any others, which are checked one by one."""
    if not may_be_cuda(pairs[0][1].array):
        return None
    from numclip.train._cuda import plain_updates

    return plain_updates([pair for pair in pairs if pair[0] is not None])


def _as_pair(pair: Any, position: int) -> tuple[Any, Variable]:
    argument = f"grads_and_vars[{position}]"
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"`{argument}` must be a pair of gradient and variable, got {_array.describe(pair)}"
        )
    gradient, variable = pair
    if not isinstance(variable, Variable):
        raise TypeError(f"`{argument}[1]` must be a Variable, got {_array.describe(variable)}")
    return gradient, variable


def _on_device(variable: Variable) -> CudaArray:
    found = cuda_array(variable.array, "variable")
    assert found is not None
    return found


def _full(variable: Variable, value: float) -> Any:
    """Return a new array like a variable's, where that is."""
    like = cuda_array(variable.array, "variable")
    if like is None:
        return np.full(variable.shape, value, variable.dtype)
    number = np.asarray(value, variable.dtype)[()]
    return _cuda_memory.full(variable.shape, number, like).array


def _check_step(global_step: Any) -> Array:
    step = global_step.array if isinstance(global_step, Variable) else global_step
    if not isinstance(step, np.ndarray) or not _array.is_integer(step.dtype):
        raise TypeError(
            "`global_step` must be a Variable or an array of integers,"
            f" got {_array.describe(global_step)}"
        )
    if step.size != 1 or not step.flags.writeable:
        raise ValueError(
            f"`global_step` must be a writable scalar, got {_array.describe(global_step)}"
        )
    return step


def read_hyperparameter(value: Hyperparameter, argument: str) -> float:
    """Return a hyperparameter as it is now: what a callable returns, or the number itself."""
    return _array.as_scalar(value() if callable(value) else value, argument)


def compute_type(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the type in which kernels compute with numbers of this dtype."""
    return np.float64 if dtype.itemsize == 8 else np.float32
