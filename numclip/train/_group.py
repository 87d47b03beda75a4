"""Several optimizers, each for a part of the variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from numclip import _array
from numclip._filter import filter_variables
from numclip._kernels.update_table import are_apart
from numclip._variable import Variable
from numclip.train._checks import check_step
from numclip.train._clipping import Clipping, Limits
from numclip.train._gradient_history import GradientHistory, check_history
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._minimizer import Minimizer
from numclip.train._optimizer import Optimizer
from numclip.train._overlap import check_constraints, held_by, protected_pairs
from numclip.train._places import (
    Prepared,
    clip_places,
    launching,
    nonfinite_message,
    step_result,
    updates_of,
)
from numclip.train._recording import changes_from
from numclip.train._slots import NO_SLOTS
from numclip.train._step_result import StepResult
from numclip.train._updates import (
    Given,
    GradientsAndVariables,
    Plan,
    VariablesByName,
    as_given,
)


class GroupedOptimizer(Minimizer):
    r"""Update each variable by the optimizer of the group that it is in.

    Parameters
    ----------
    groups : iterable of (include, optimizer)
        `include` chooses variables by their names, as for `numclip.filter_variables`; None chooses
        all. Every trainable variable that a step updates has to be in exactly one group.
    name : str
        The optimizer's name.
    global_clipnorm : float or callable, optional
        A limit of the norm of all gradients together. Without it each group is limited by its own
        norm, where its optimizer was given a limit.
    nonfinite : {"propagate", "raise", "skip"}
        What to do where any gradient is NaN or infinite, as for `Optimizer`; without it, each
        group does as its optimizer was told.
    history : numclip.GradientHistory, optional
        Is told of every step, all groups together.

    Raises
    ------
    TypeError
        If `groups` are not pairs of a filter and an optimizer.
    ValueError
        If there is no group, or an optimizer is in two of them, or has a limit of its own beside
        `global_clipnorm` or `nonfinite`, or has a history.

    Notes
    -----
    Everything is checked for all groups before the first number of any is written. The state is
    that of the groups, in order. A step's result tells the norm of all gradients if they are
    limited together, and says that it was skipped if any group did; the global step counts only
    steps that no group skipped. Names are read whenever a step has other variables than the one
    before: a variable that is renamed between two steps of the same variables stays in its group.

    References
    ----------
    Parameter groups of ``torch.optim.Optimizer``; ``optax.partition``.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> backbone = nc.Variable([1.0], name="backbone/kernel")
    >>> head = nc.Variable([1.0], name="head/kernel")
    >>> optimizer = nc.train.GroupedOptimizer([
    ...     ("backbone", nc.train.GradientDescentOptimizer(0.01)),
    ...     ("head", nc.train.GradientDescentOptimizer(0.1)),
    ... ])
    >>> optimizer.apply_gradients([(np.array([1.0]), backbone), (np.array([1.0]), head)])
    StepResult(global_norm=None, scale=1.0, skipped=False)
    >>> backbone.value, head.value
    (array([0.99]), array([0.9]))
    """

    def __init__(
        self,
        groups: Iterable[tuple[Any, Optimizer]],
        name: str = "Grouped",
        *,
        global_clipnorm: Hyperparameter | None = None,
        nonfinite: str = "propagate",
        history: GradientHistory | None = None,
    ) -> None:
        super().__init__(name)
        self._history = check_history(history)
        self._clipping = Clipping(None, None, global_clipnorm, nonfinite, history is not None)
        self._groups = [_as_group(group, i) for i, group in enumerate(_as_groups(groups))]
        optimizers = [optimizer for _, optimizer in self._groups]
        if len(set(optimizers)) < len(optimizers):
            raise ValueError("`groups` must have an optimizer each, got one in two groups")
        self._clips_all = global_clipnorm is not None or nonfinite != "propagate"
        for i, optimizer in enumerate(optimizers):
            if self._clips_all and optimizer._clipping.is_used:
                raise ValueError(
                    f"`groups[{i}][1]` must have no limit beside that of all groups together"
                )
            if optimizer._history is not None:
                raise ValueError(
                    f"`groups[{i}][1]` must have no `history`: that of the groups together is"
                    " told of all variables"
                )
        self._known: tuple[tuple[Variable, ...], list[int]] = ((), [])
        self._plan: Plan | None = None

    def apply_gradients(
        self,
        grads_and_vars: GradientsAndVariables | Mapping[str, Any],
        global_step: Any = None,
        name: str | None = None,
        *,
        variables: VariablesByName | None = None,
    ) -> StepResult:
        """Update variables by gradients, each by the optimizer of its group.

        Parameters
        ----------
        grads_and_vars, global_step, name, variables
            As of `Optimizer.apply_gradients`.

        Returns
        -------
        StepResult
            As of `Optimizer.apply_gradients`; the norm is that of all gradients, if all are
            limited together.

        Raises
        ------
        TypeError, ValueError, IndexError, FloatingPointError
            As by `Optimizer.apply_gradients`, and ValueError if a trainable variable is in no
            group, or in several. Nothing has changed then.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.apply_gradients`` of TensorFlow.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable([1.0], name="x")
        >>> optimizer = nc.train.GroupedOptimizer([("x", nc.train.GradientDescentOptimizer(0.5))])
        >>> optimizer.apply_gradients({"x": np.array([1.0])}, variables=[x])
        StepResult(global_norm=None, scale=1.0, skipped=False)
        >>> x.value
        array([0.5])
        """
        with _array.named(name):
            given = as_given(grads_and_vars, variables)
            groups = self._groups_of(given.variables)
            step = None if global_step is None else check_step(global_step)
            return self._step(given, groups, step)

    def _step(self, given: Given, groups: list[int], step: Any) -> StepResult:
        limits = self._clipping.read()
        used = sorted(set(groups))
        members = [[i for i, group in enumerate(groups) if group == each] for each in used]
        optimizers = [self._groups[each][1] for each in used]
        prepared = [
            optimizer._prepare(
                given.some(rows),
                limits if self._clips_all else self._limits_of(optimizer),
            )
            for optimizer, rows in zip(optimizers, members, strict=True)
        ]
        if not _are_apart(prepared):
            check_constraints(given)
            safe = protected_pairs(given, held_by(given.variables, self._slots_of))
            if safe is not given:
                given = safe
                prepared = [
                    optimizer._prepare_again(each, given.some(rows))
                    for optimizer, each, rows in zip(optimizers, prepared, members, strict=True)
                ]
        with launching(given):
            if self._clips_all:
                together, result = self._clip_together(given, prepared, members, limits)
                results = [result] * len(prepared)
            else:
                results = [
                    optimizer._clip(each)
                    for optimizer, each in zip(optimizers, prepared, strict=True)
                ]
            history = self._history
            changes = None if history is None else changes_from(history, given, results)
            kept = [
                (optimizer, each)
                for optimizer, each, result in zip(optimizers, prepared, results, strict=True)
                if not result.skipped
            ]
            _commit(kept)
            if history is not None:
                limited = [together] if self._clips_all else prepared
                of_each = zip(limited, results, strict=False)
                parts = [each.part(result) for each, result in of_each]
                history._add(given.variables, parts, None if changes is None else changes.end())
        if step is not None and len(kept) == len(prepared):
            step += 1
        return results[0] if self._clips_all else StepResult(skipped=len(kept) < len(prepared))

    def _slots_of(self, variable: Variable) -> list[Variable]:
        held = [optimizer._slots.of(variable) or () for _, optimizer in self._groups]
        return [slot for slots in held for slot in slots]

    def _limits_of(self, optimizer: Optimizer) -> Limits:
        """Return the limits of a group that is limited apart."""
        limits = optimizer._clipping.read()
        return limits if self._history is None else limits._replace(keeps_norms=True)

    def _clip_together(
        self,
        given: Given,
        prepared: Sequence[Prepared],
        members: Sequence[Sequence[int]],
        limits: Limits,
    ) -> tuple[Prepared, StepResult]:
        """Find what brings all gradients to the limit, and hand it to the groups."""
        places = updates_of(given, limits, NO_SLOTS, self._plan, True)
        norm = clip_places(places, limits)
        result = step_result(norm, limits, lambda: nonfinite_message(given))
        if limits.clips:
            for each, rows in zip(prepared, members, strict=True):
                each.places[0].share(places[0], rows)
        if places[0].plan is not None:
            self._plan = places[0].plan
        return Prepared(given, places, limits, {}), result

    def _groups_of(self, variables: tuple[Variable, ...]) -> list[int]:
        """Return the number of each variable's group."""
        if self._known[0] != variables:
            self._known = variables, self._find_groups(variables)
        return self._known[1]

    def _find_groups(self, variables: tuple[Variable, ...]) -> list[int]:
        found: dict[Variable, list[int]] = {variable: [] for variable in variables}
        for i, (include, _) in enumerate(self._groups):
            for variable in filter_variables(list(found), include, strict=False):
                found[variable].append(i)
        for variable, groups in found.items():
            if len(groups) != 1:
                raise ValueError(
                    "`grads_and_vars` must have variables of exactly one group each,"
                    f" got {variable!r}, which is in {groups or 'none'}"
                )
        return [found[variable][0] for variable in variables]

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """Return a slot of a variable, None before it has one.

        Parameters
        ----------
        var : Variable
            A variable that was updated.
        name : str
            A slot of the optimizer of its group.

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
        >>> import numclip as nc
        >>> optimizer = nc.train.GroupedOptimizer([("x", nc.train.AdamOptimizer())])
        >>> optimizer.get_slot(nc.Variable([1.0], name="x"), "m") is None
        True
        """
        found = [optimizer.get_slot(var, name) for _, optimizer in self._groups]
        return next((slot for slot in found if slot is not None), None)

    def get_slot_names(self) -> list[str]:
        """Return the names of the slots of all groups in alphabetical order.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.train.GroupedOptimizer([(None, nc.train.AdamOptimizer())]).get_slot_names()
        ['m', 'v']
        """
        return sorted({name for _, each in self._groups for name in each.get_slot_names()})

    def variables(self) -> list[Variable]:
        """Return all slots, sorted by name.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.train.GroupedOptimizer([(None, nc.train.AdamOptimizer())]).variables()
        []
        """
        slots = [slot for _, optimizer in self._groups for slot in optimizer.variables()]
        return sorted(slots, key=lambda slot: slot.name or "")

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that a run needs to go on to the bit, for `load_state_dict`.

        Returns
        -------
        dict
            Of the groups' numbers to the states of their optimizers.

        Examples
        --------
        >>> import numclip as nc
        >>> optimizer = nc.train.GroupedOptimizer([("x", nc.train.GradientDescentOptimizer(0.1))])
        >>> optimizer.state_dict()
        {'GroupedOptimizer': {'0': {'GradientDescentOptimizer': {'slots': {}}}}}
        """
        groups = {str(i): each.state_dict() for i, (_, each) in enumerate(self._groups)}
        return {type(self).__name__: groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all state by what `state_dict` returned, which is copied.

        Parameters
        ----------
        state : dict
            Of as many groups, with optimizers of the same classes in the same order.

        Raises
        ------
        TypeError, ValueError
            As by `Optimizer.load_state_dict`, and if the groups are others. Nothing is changed.

        References
        ----------
        ``torch.optim.Optimizer.load_state_dict`` of PyTorch.

        Examples
        --------
        >>> import numclip as nc
        >>> optimizer = nc.train.GroupedOptimizer([("x", nc.train.AdamOptimizer())])
        >>> optimizer.load_state_dict(optimizer.state_dict())
        """
        own = type(self).__name__
        expected = [str(i) for i in range(len(self._groups))]
        groups = state.get(own) if isinstance(state, Mapping) else None
        if not isinstance(groups, Mapping) or set(groups) != set(expected):
            raise ValueError(
                f"`state` must be that of {own} with groups {expected}, got"
                f" {list(groups) if isinstance(groups, Mapping) else _array.describe(state)}"
            )
        loads = [each._checked_state(groups[str(i)]) for i, (_, each) in enumerate(self._groups)]
        for load in loads:
            load()


def _as_groups(groups: Any) -> list[Any]:
    if not isinstance(groups, Iterable) or isinstance(groups, str | Mapping):
        raise TypeError(
            f"`groups` must be pairs of a filter and an optimizer, got {_array.describe(groups)}"
        )
    found = list(groups)
    if not found:
        raise ValueError("`groups` must not be empty")
    return found


def _as_group(group: Any, position: int) -> tuple[Any, Optimizer]:
    if not isinstance(group, tuple | list) or len(group) != 2:
        raise TypeError(
            f"`groups[{position}]` must be a pair of a filter and an optimizer,"
            f" got {_array.describe(group)}"
        )
    include, optimizer = group
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`groups[{position}][1]` must be an optimizer, got {_array.describe(optimizer)}"
        )
    # Refuses what is no filter, and asks none of its functions.
    filter_variables([], include, strict=False)
    return include, optimizer


def _are_apart(groups: Sequence[Prepared]) -> bool:
    """Tell whether no gradient may show what another group changes."""
    if len(groups) == 1:
        return True
    places = [updates for group in groups for updates in group.places]
    tables = [updates.entries for updates in places]
    if any([table is None for table in tables]):
        return False
    own_their_data = all([updates.own_their_data for updates in places])
    return bool(are_apart(np.concatenate(tables), own_their_data))


def _commit(steps: Sequence[tuple[Optimizer, Prepared]]) -> None:
    """Make the steps of all groups, once nothing is left that could fail."""
    made: list[tuple[Optimizer, Prepared, list[str]]] = []
    try:
        for optimizer, each in steps:
            made.append((optimizer, each, optimizer._make_slots(each)))
        ready = [optimizer._ready(each) for optimizer, each in steps]
        for step in ready:
            optimizer, each, keys = made[0]
            optimizer._apply(each, step, keys)
            del made[0]
    except BaseException:
        for optimizer, _, keys in made:
            optimizer._slots.remove(keys)
        raise
