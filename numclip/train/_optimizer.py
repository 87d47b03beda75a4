"""What all optimizers share: hyperparameters, slots, and the order of a step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from numclip import _array
from numclip._variable import Variable
from numclip.train._checks import check_step
from numclip.train._clipping import Clipping, Limits
from numclip.train._gradient_history import GradientHistory, check_history
from numclip.train._hyperparameter import Hyperparameter, read_hyperparameter
from numclip.train._minimizer import Minimizer
from numclip.train._places import (
    Prepared,
    clip_places,
    launching,
    nonfinite_message,
    step_result,
    updates_of,
)
from numclip.train._recording import changes_from
from numclip.train._slots import Slots
from numclip.train._step_result import StepResult
from numclip.train._updates import (
    Given,
    GradientsAndVariables,
    Step,
    Updates,
    VariablesByName,
    as_given,
)


class Optimizer(Minimizer):
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
    gradients first. ``history``, a `numclip.GradientHistory`, is told of every step, whose norms
    are then taken too.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> weights = nc.Variable([0.0, 0.0])
    >>> optimizer = nc.train.GradientDescentOptimizer(0.1, global_clipnorm=1.0)
    >>> isinstance(optimizer, nc.train.Optimizer)
    True
    >>> optimizer.apply_gradients([(np.array([3.0, 4.0]), weights)])
    StepResult(global_norm=5.0, scale=0.2, skipped=False)
    >>> weights.value
    array([-0.06, -0.08])
    """

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
        history: GradientHistory | None = None,
    ) -> None:
        super().__init__(name)
        self._hyperparameters = dict(hyperparameters)
        self._history = check_history(history)
        keeps_norms = history is not None
        self._clipping = Clipping(clipvalue, clipnorm, global_clipnorm, nonfinite, keeps_norms)
        self._slots = Slots(self._slot_names, self._initial_slot, name)

    @abstractmethod
    def _rule(self, kind: type[np.floating[Any]], now: Mapping[str, float]) -> Any:
        """Return the rule's numbers in a type, float32 or float64, from the hyperparameters."""

    def _row_rule(self, kind: type[np.floating[Any]], now: Mapping[str, float]) -> Any:
        """Return those of the rule for gradients by rows, of an optimizer that takes all rows."""

    def _initial_slot(self, name: str) -> float:
        return 0.0

    def _end_step(self, now: Mapping[str, float]) -> None:
        """Advance what is kept once for all variables, where there is any."""

    def _shared_state(self) -> dict[str, Any]:
        """Return what is kept once for all variables, as arrays."""
        return {}

    def _load_shared_state(self, state: Mapping[str, Any]) -> None:
        """Take what `_shared_state` returned, of the same names, shapes and dtypes."""

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
            If there is no gradient of a trainable variable, one is not of its variable's shape, a
            variable with a function as its constraint shares memory with another, a name is
            unknown, a variable's array is of another size than when its slots were made, or is on
            another device, or what a slot begins with is above 0 and rounds to 0 in the variable's
            dtype.
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
        given = as_given(grads_and_vars, variables)
        prepared = self._prepare(given, self._clipping.read())
        step_counter = None if global_step is None else check_step(global_step)
        with launching(given):
            result = self._clip(prepared)
            history, changes = self._history, None
            if history is not None and history._ratios_every is not None:
                changes = changes_from(history, given, [result])
            if not result.skipped:
                self._commit(prepared)
                if step_counter is not None:
                    step_counter += 1
            if history is not None:
                part = prepared.part(result)
                history._add(part[0], part, None if changes is None else changes.end())
        return result

    def _prepare(self, given: Given, limits: Limits) -> Prepared:
        """Check everything, and read the hyperparameters."""
        places = self._updates(given, limits)
        now = {
            name: read_hyperparameter(each, name) for name, each in self._hyperparameters.items()
        }
        return Prepared(given, places, limits, now)

    def _prepare_again(self, prepared: Prepared, given: Given) -> Prepared:
        """Do so for the same gradients elsewhere; functions are not called again."""
        return prepared._replace(given=given, places=self._updates(given, prepared.limits))

    def _updates(self, given: Given, limits: Limits) -> Sequence[Updates]:
        sums_duplicates = self._sums_duplicates or limits.clips
        slots, takes_all_rows = self._slots, self._takes_all_rows
        return updates_of(given, limits, slots, slots.plan, sums_duplicates, takes_all_rows)

    def _clip(self, prepared: Prepared) -> StepResult:
        """Find what the gradients are multiplied by, and whether the step is to be made."""
        norm = clip_places(prepared.places, prepared.limits)
        return step_result(norm, prepared.limits, lambda: nonfinite_message(prepared.given))

    def _make_slots(self, prepared: Prepared) -> list[str]:
        if all([each.has_all_slots for each in prepared.places]):
            return []
        return self._slots.make(v for each in prepared.places for v in each.variables)

    def _commit(self, prepared: Prepared) -> None:
        made = self._make_slots(prepared)
        try:
            self._apply(prepared, self._ready(prepared), made)
        except BaseException:
            self._slots.remove(made)
            raise

    def _ready(self, prepared: Prepared) -> Step:
        """Call the functions that constrain variables; slots have been made, nothing is written."""
        now = prepared.now
        step = Step(
            lambda kind: self._rule(kind, now),
            lambda kind: self._row_rule(kind, now),
            self._takes_all_rows,
            prepared.limits,
            self._made_slots,
        )
        for updates in prepared.places:
            updates.constrain(step)
        return step

    def _apply(self, prepared: Prepared, step: Step, made: list[str]) -> None:
        """Update the variables."""
        for updates in prepared.places:
            updates.apply(step)
        self._slots.keep(made)
        plan = prepared.places[0].plan
        if plan is not None:
            self._slots.plan = plan
        self._end_step(prepared.now)

    def _made_slots(self, variable: Variable) -> Sequence[Variable]:
        slots = self._slots.of(variable)
        assert slots is not None
        return slots

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
            Of the variable's shape and dtype. It keeps its array, which `numclip.Variable.assign`
            overwrites.

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
            variable; one of a variable that was not updated yet is found at its first update.
            Nothing is changed then.

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
        self._checked_state(state)()

    def _checked_state(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Return what loads a state that was found to fit."""
        own = type(self).__name__
        if not isinstance(state, Mapping) or list(state) != [own]:
            found: Any = list(state) if isinstance(state, Mapping) else _array.describe(state)
            raise ValueError(f"`state` must be that of {own}, got {found}")
        content = state[own]
        shared = self._shared_state()
        expected = {"slots", *shared}
        if not isinstance(content, Mapping) or set(content) != expected:
            found = list(content) if isinstance(content, Mapping) else _array.describe(content)
            raise ValueError(f"`state[{own!r}]` must have {sorted(expected)}, got {found}")
        slots = self._slots.check(content["slots"])
        for key, like in shared.items():
            _check_like(content[key], like, f"state[{own!r}][{key!r}]")

        def load() -> None:
            self._slots.load(slots)
            self._load_shared_state({key: content[key] for key in shared})

        return load


def _check_like(value: Any, like: Any, argument: str) -> None:
    array = np.asarray(value)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"`{argument}` must be of dtype {like.dtype} and shape {like.shape},"
            f" got {_array.describe(array)}"
        )
