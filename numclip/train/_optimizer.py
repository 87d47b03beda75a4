"""What all optimizers share: hyperparameters, slots, and the order of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np

from numclip import _array
from numclip import _compile_cuda as compile_cuda
from numclip._array import Array
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import may_be_cuda
from numclip._variable import Variable
from numclip.train import _host
from numclip.train._checks import check_step
from numclip.train._clipping import Clipping, Limits
from numclip.train._hyperparameter import Hyperparameter, read_hyperparameter
from numclip.train._slots import Slots
from numclip.train._step_result import StepResult
from numclip.train._updates import (
    GradientsAndVariables,
    Pair,
    Step,
    Updates,
    VariablesByName,
    as_pairs,
    check_pairs,
)


class Optimizer(ABC):
    """Update variables by their gradients.

    This is the interface; each of its subclasses is one algorithm. ``GATE_NONE``, ``GATE_OP`` and
    ``GATE_GRAPH`` are TensorFlow's constants for `compute_gradients`.

    Every optimizer takes, by keyword only, one of ``clipvalue``, ``clipnorm`` and
    ``global_clipnorm``, numbers or callables, and ``nonfinite``. The first bounds each element of
    a gradient as `numclip.clip_by_value`, the second each gradient's norm as
    `numclip.clip_by_norm`, the third the norm of all as `numclip.clip_by_global_norm`; to the bit,
    and without writing a clipped gradient anywhere. Rows of IndexedSlices that share an index are
    summed before. ``nonfinite`` says what to do where a gradient is NaN or infinite: "propagate"
    it, "raise" FloatingPointError, or "skip" the step; the latter two take the norm of all
    gradients first.
    """

    GATE_NONE: ClassVar[int] = 0
    GATE_OP: ClassVar[int] = 1
    GATE_GRAPH: ClassVar[int] = 2

    _slot_names: tuple[str, ...] = ()
    # Whether a gradient by rows updates all rows, those that it does not have by zero.
    _takes_all_rows: ClassVar[bool] = False
    # Whether rows that share an index are summed; else they are taken one after another.
    _sums_duplicates: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        hyperparameters: Mapping[str, Hyperparameter],
        clipvalue: Hyperparameter | None = None,
        clipnorm: Hyperparameter | None = None,
        global_clipnorm: Hyperparameter | None = None,
        nonfinite: str = "propagate",
    ) -> None:
        if not name:
            raise ValueError("`name` must not be empty: it names the slots")
        self._name = name
        self._hyperparameters = dict(hyperparameters)
        self._clipping = Clipping(clipvalue, clipnorm, global_clipnorm, nonfinite)
        self._slots = Slots(self._slot_names, self._initial_slot, name)
        self._plan: _host.Plan | None = None

    @abstractmethod
    def _rule(self, kind: type[np.floating[Any]], now: Mapping[str, float]) -> Any:
        """Return the rule's numbers in a type, float32 or float64, from the hyperparameters."""

    def _row_rule(self, kind: type[np.floating[Any]], now: Mapping[str, float]) -> Any:
        """Return those of the rule for gradients by rows."""
        return self._rule(kind, now)

    def _initial_slot(self, name: str) -> float:
        return 0.0

    def _end_step(self, now: Mapping[str, float]) -> None:  # noqa: B027
        """Advance what is kept once for all variables, where there is any."""

    def _shared_state(self) -> dict[str, Any]:
        """Return what is kept once for all variables, as arrays."""
        return {}

    def _load_shared_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take what `_shared_state` returned, of the same names, shapes and dtypes."""

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
            `numclip.gather` used it, None where the loss does not depend on it or the variable is
            not trainable.

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
        if var_list is None:
            return differentiate([loss], None, [grad_loss])[1]
        variables = as_variables(var_list, "var_list")
        trainable = [variable for variable in variables if variable.trainable]
        found = iter(differentiate([loss], trainable, [grad_loss])[1])
        return [next(found) if v.trainable else (None, v) for v in variables]

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
    ) -> StepResult:
        """Take one step: `compute_gradients`, then `apply_gradients`.

        Parameters
        ----------
        loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
            As of `compute_gradients`.
        global_step, name
            As of `apply_gradients`.

        Returns
        -------
        StepResult
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
        StepResult(global_norm=None, scale=1.0, skipped=False)
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
        return self.apply_gradients(pairs, global_step, name)

    def apply_gradients(
        self,
        grads_and_vars: GradientsAndVariables | Mapping[str, Any],
        global_step: Any = None,
        name: str | None = None,
        *,
        variables: VariablesByName | None = None,
    ) -> StepResult:
        """Update variables by gradients.

        Everything is checked before the first number is written. Nothing waits for a CUDA device,
        but for the range of the indices of IndexedSlices, for how many of them are left without
        duplicates where a norm is limited, and for that norm where ``nonfinite`` asks for it.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable), or dict of name to gradient
            A gradient is an array of its variable's shape and dtype, IndexedSlices of some of its
            rows, or None, which leaves the variable as it is, as does one that is not trainable. It
            is where its variable is, on the host or on a CUDA device. A variable given twice is
            updated twice, in order.
        global_step : Variable or integer array, optional
            A scalar that is incremented by one after the updates.
        name : str, optional
            Opens the message of an error.
        variables : iterable of Variable, or dict of name to Variable
            Where the names of a dict of gradients are looked up.

        Returns
        -------
        StepResult
            The norm of all gradients, what they were multiplied by, and whether the step was
            skipped.

        Raises
        ------
        TypeError
            If a gradient is not of its variable's dtype, or something is no array or Variable.
        ValueError
            If there is no gradient of a trainable variable, one is not of its variable's shape, or
            a name is unknown.
        IndexError
            If a row is out of range.
        FloatingPointError
            With ``nonfinite="raise"``; it names the first gradient that is not finite.

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
        StepResult(global_norm=None, scale=1.0, skipped=False)
        >>> x.value, step.value
        (array([0., 1.]), array(1))
        """
        if name is not None:
            with _array.named(name):
                return self.apply_gradients(grads_and_vars, global_step, variables=variables)
        pairs = as_pairs(grads_and_vars, variables)
        limits = self._clipping.read()
        places = self._updates(pairs, limits)
        step_counter = None if global_step is None else check_step(global_step)
        now = {
            name: read_hyperparameter(each, name) for name, each in self._hyperparameters.items()
        }
        with compile_cuda.LAUNCHES if may_be_cuda(pairs[0][1].array) else nullcontext():
            return self._take_step(pairs, places, limits, now, step_counter)

    def _take_step(
        self,
        pairs: Sequence[Pair],
        places: Sequence[Updates],
        limits: Limits,
        now: Mapping[str, float],
        step_counter: Array | None,
    ) -> StepResult:
        norms = [updates.clip(limits) for updates in places]
        norm = norms[0]
        if norm is not None and limits.nonfinite != "propagate" and not norm.is_finite:
            if limits.nonfinite == "raise":
                raise FloatingPointError(self._nonfinite_message(pairs))
            return StepResult(norm.value, limits.global_norm, skipped=True)
        step = Step(
            lambda kind: self._rule(kind, now),
            lambda kind: self._row_rule(kind, now),
            self._takes_all_rows,
            limits,
            self._made_slots,
        )
        made = self._make_slots(places)
        try:
            for updates in places:
                updates.apply(step)
        except BaseException:
            self._slots.remove(made)
            raise
        self._slots.keep(made)
        if isinstance(places[0], _host.PlainUpdates):
            self._plan = places[0].plan
        self._end_step(now)
        if step_counter is not None:
            step_counter += 1
        return StepResult(None if norm is None else norm.value, limits.global_norm)

    def _updates(self, pairs: Sequence[Pair], limits: Limits) -> Sequence[Updates]:
        """Return the checked updates of each place, the host and CUDA devices."""
        present = [pair for pair in pairs if pair[0] is not None and pair[1].trainable]
        if may_be_cuda(present[0][1].array):
            from numclip.train import _cuda

            plain_on_device = _cuda.plain_updates(present, self._slots.of)
            if plain_on_device is not None:
                return [plain_on_device]
        else:
            plain = self._plain_on_host(present)
            if plain is not None:
                return [plain]
        sums_duplicates = self._sums_duplicates or limits.clips
        checked = check_pairs(pairs, sums_duplicates)
        on_device = [each for each in checked if isinstance(each.gradient, CudaArray)]
        on_host = [each for each in checked if not isinstance(each.gradient, CudaArray)]
        if limits.needs_norm and on_host and on_device:
            places_of = [(f"grads_and_vars[{each.position}][0]", each.gradient) for each in checked]
            _array.check_one_place(places_of)
        places: list[Updates] = []
        if on_host:
            kept = _host.protected(on_host, self._slots.of)
            places.append(_host.CheckedUpdates(kept, has_duplicates=not sums_duplicates))
        if on_device:
            from numclip.train import _cuda

            for device in {each.gradient.device for each in on_device}:
                here = [each for each in on_device if each.gradient.device == device]
                safe = _cuda.protected(here, self._slots.of)
                places.append(_cuda.CheckedUpdates(safe, sums_duplicates))
        return places

    def _plain_on_host(self, pairs: Sequence[Pair]) -> Updates | None:
        gradients, variables = zip(*pairs, strict=True)
        plan = self._plan
        if plan is None or plan.variables != variables:
            if any([type(gradient) is not np.ndarray for gradient in gradients]):
                return None
            plan = _host.plan_for(variables, self._slots.of, len(self._slot_names))
        return None if plan is None else _host.plain_updates(gradients, plan)

    def _make_slots(self, places: Sequence[Updates]) -> list[str]:
        if isinstance(places[0], _host.PlainUpdates) and places[0].plan.has_all_slots:
            return []
        return self._slots.make(variable for each in places for variable in each.variables)

    def _made_slots(self, variable: Variable) -> Sequence[Variable]:
        slots = self._slots.of(variable)
        assert slots is not None
        return slots

    def _nonfinite_message(self, pairs: Sequence[Pair]) -> str:
        for i, (gradient, variable) in enumerate(pairs):
            if gradient is None or not variable.trainable:
                continue
            alone = self._updates([(gradient, variable)], self._clipping.read())[0]
            norm = alone.clip(Limits(None, None, None, "raise"))
            if not norm.is_finite:
                return (
                    f"`grads_and_vars[{i}][0]` must be finite, got a gradient of norm"
                    f" {norm.on_host()} for {variable!r}"
                )
        raise AssertionError("some gradient of a norm that is not finite is not finite")

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
        >>> result = optimizer.apply_gradients([(np.array([2.0]), x)])
        >>> optimizer.get_slot(x, "m").value
        array([0.2])
        """
        return self._slots.get(var, name)

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
        >>> result = optimizer.apply_gradients([(np.array([2.0]), nc.Variable([1.0], name="x"))])
        >>> [slot.name for slot in optimizer.variables()]
        ['x/Adam', 'x/Adam_1']
        """
        return sorted(self._slots.all(), key=lambda slot: slot.name or "")

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that a run needs to go on to the bit, for `load_state_dict`.

        Returns
        -------
        dict
            Of the class's name to a dict: ``"slots"`` are dicts of arrays, by the variables' names
            and TensorFlow's names of slots; besides them, what is kept for all variables. A
            variable without a name goes by "Variable", further ones of a name by "name_1" and so
            on, in the order in which they were first updated. Arrays of a CUDA device are copied
            to the host. `numclip.save` writes it to a file.

        Notes
        -----
        Hyperparameters, the variables themselves and ``global_step`` are the caller's to keep.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> optimizer = nc.train.MomentumOptimizer(0.1, momentum=0.9)
        >>> x = nc.Variable([1.0, 2.0], name="x")
        >>> result = optimizer.apply_gradients([(np.array([3.0, 4.0]), x)])
        >>> optimizer.state_dict()
        {'MomentumOptimizer': {'slots': {'x': {'momentum': array([3., 4.])}}}}
        """
        return {type(self).__name__: {"slots": self._slots.state(), **self._shared_state()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all state by what `state_dict` returned, which is copied.

        Parameters
        ----------
        state : dict
            Of an optimizer of the same class. What it has for variables that were not updated yet
            is taken up when they first are; slots that it does not have are dropped.

        Raises
        ------
        TypeError
            If an entry is not of the dtype of its variable, or something is no array.
        ValueError
            If the state is of another optimizer, lacks something or has something else, if what is
            kept for all variables is of another dtype, or if an entry is not of the shape of its
            variable; one of a variable that was not updated yet
            is found at its first update. Nothing is changed then.

        References
        ----------
        ``torch.optim.Optimizer.load_state_dict`` of PyTorch.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> optimizer = nc.train.MomentumOptimizer(0.1, momentum=0.9)
        >>> optimizer.load_state_dict(
        ...     {"MomentumOptimizer": {"slots": {"x": {"momentum": np.array([3.0, 4.0])}}}}
        ... )
        >>> x = nc.Variable([1.0, 2.0], name="x")
        >>> result = optimizer.apply_gradients([(np.array([0.0, 0.0]), x)])
        >>> x.value.round(3)
        array([0.73, 1.64])
        """
        own = type(self).__name__
        if not isinstance(state, Mapping) or list(state) != [own]:
            found: Any = list(state) if isinstance(state, Mapping) else _array.describe(state)
            raise ValueError(f"`state` must be that of {own}, got {found}")
        content = state[own]
        shared = self._shared_state()
        expected = {"slots", *shared}
        if not isinstance(content, Mapping) or set(content) != expected:
            found = sorted(content) if isinstance(content, Mapping) else _array.describe(content)
            raise ValueError(f"`state[{own!r}]` must have {sorted(expected)}, got {found}")
        slots = self._slots.check(content["slots"])
        for key, like in shared.items():
            _check_like(content[key], like, f"state[{own!r}][{key!r}]")
        self._slots.load(slots)
        self._load_shared_state({key: content[key] for key in shared})
        self._plan = None


def _check_like(value: Any, like: Any, argument: str) -> None:
    array = np.asarray(value)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"`{argument}` must be of dtype {like.dtype} and shape {like.shape},"
            f" got {_array.describe(array)}"
        )
