"""What the gradients were, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from numclip import _array
from numclip._array import Array
from numclip._norm import global_norm
from numclip._variable import Variable, key_for
from numclip.train._step_result import StepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Part(NamedTuple):
    """What a step tells of variables that are limited together; norms may be on a device."""

    variables: Sequence[Variable]
    norms: Any
    result: StepResult
    limit_of_each: float | None


class Change(NamedTuple):
    """The norms of variables before a step, and of what it has added to them."""

    variables: Sequence[Variable]
    before: Any
    added: Any


class _Record(NamedTuple):
    parts: Sequence[Part]
    change: Change | None


# What is kept of a step has the fields of a `Part`, or is a list of such: named as they are read,
# and by few lines of code, which after a step are in no cache, they take it 2 us less.
PlainPart: TypeAlias = tuple[Sequence[Variable], Any, StepResult, float | None]


class GradientHistory:
    r"""Keep the norms of all gradients, step by step, as an optimizer takes them.

    It is given to an optimizer, or to several: ``AdamOptimizer(..., history=history)``.

    Parameters
    ----------
    max_steps : int
        How many of the last steps are kept. Each takes 8 bytes for each variable, and some 400
        bytes; those of ratios 24 more for each variable.
    ratios_every : int, optional
        Also take the ratio of the update's norm to that of the variable, at every so many steps,
        the first of them at step 1. Such a step copies all variables, and makes three passes over
        the copies: for their norms, for what was added to them, and for the norms of that.

    Raises
    ------
    TypeError
        If `max_steps` or `ratios_every` is not an integer.
    ValueError
        If it is below 1.

    Notes
    -----
    The norms are those that clipping by the global norm takes anyway, in the pass over the
    gradients that it makes. A step takes 2 to 3 us longer, and some 10 ns for each variable: 2 %
    of one that computes the gradient of a single number, a fifth of a percent of one that computes
    those of three layers, less than a thousandth of one of 25 million numbers. An optimizer
    without such a limit makes that pass for the history's sake, which adds the time of reading the
    gradients once, and tells the norm in its result too. No update changes by a bit.

    Norms are of gradients before they are clipped, duplicate rows of IndexedSlices summed, without
    what a variable's mask holds still. A step that raises is not kept; one that was skipped is.
    Variables that a step updates have to be in one place, all on the host or all on a device;
    there the norms stay, and nothing waits for them, until the history is read.

    References
    ----------
    X. Glorot, Y. Bengio, *Understanding the difficulty of training deep feedforward neural
    networks*, AISTATS 2010; R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training
    recurrent neural networks*, ICML 2013.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> history = nc.GradientHistory(ratios_every=1)
    >>> x, y = nc.Variable([10.0, 0.0], name="x"), nc.Variable([2.0], name="y")
    >>> optimizer = nc.train.GradientDescentOptimizer(0.5, global_clipnorm=2.5, history=history)
    >>> for _ in range(2):
    ...     result = optimizer.minimize(lambda: 3 * x[0] + 4 * y[0])
    >>> history
    GradientHistory(2 steps of 2 variables, 2 clipped, 0 skipped)
    >>> history.global_norms, history.scales, history.clipped
    (array([5., 5.]), array([0.5, 0.5]), array([ True,  True]))
    >>> history.names, history.norms
    (['x', 'y'], array([[3., 4.],
           [3., 4.]]))
    >>> history.ratios[0].round(3)
    array([0.075, 0.5  ])
    """

    def __init__(self, *, max_steps: int = 10_000, ratios_every: int | None = None) -> None:
        self._steps: deque[PlainPart | list[PlainPart]] = deque(
            maxlen=_as_count(max_steps, "max_steps")
        )
        self._ratios_every = (
            None if ratios_every is None else _as_count(ratios_every, "ratios_every")
        )
        self._changes: dict[int, Change] = {}
        self._count = 0
        self._columns: dict[Variable, int] = {}
        self._last: Sequence[Variable] = ()

    def _takes_ratios(self) -> bool:
        """Tell whether the step that comes is one of those."""
        return self._ratios_every is not None and self._count % self._ratios_every == 0

    def _add(
        self,
        variables: Sequence[Variable],
        parts: PlainPart | list[PlainPart],
        change: Change | None,
    ) -> None:
        """Keep a step of these variables, in the order in which they were given."""
        if variables is not self._last:
            self._last = variables
            for variable in variables:
                self._columns.setdefault(variable, len(self._columns))
        self._count += 1
        self._steps.append(parts)
        if change is not None:
            kept = range(self._count - len(self._steps) + 1, self._count)
            self._changes = {step: self._changes[step] for step in self._changes if step in kept}
            self._changes[self._count] = change

    def _read(self) -> Sequence[_Record]:
        """Return all records, with what was left on a device brought to the host."""
        records = []
        for i, (step, kept) in enumerate(zip(self.steps.tolist(), self._steps, strict=True)):
            parts = [Part(*part) for part in (kept if isinstance(kept, list) else [kept])]
            record = _Record(parts, self._changes.get(step))
            if not all(_is_on_host(part.norms) for part in parts):
                record = _on_host(record)
                self._steps[i] = list(record.parts)
                if record.change is not None:
                    self._changes[step] = record.change
            records.append(record)
        return records

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def variables(self) -> list[Variable]:
        """The variables that had gradients, in the order in which they first had."""
        return list(self._columns)

    @property
    def names(self) -> list[str]:
        """Their names; where one is missing or taken, as in an optimizer's state."""
        taken: dict[str, Variable] = {}
        for variable in self._columns:
            taken[key_for(variable, taken)] = variable
        return list(taken)

    @property
    def steps(self) -> Array:
        """The numbers of the steps that are kept, from 1 on, those that were skipped too."""
        return np.arange(self._count - len(self._steps), self._count) + 1

    @property
    def global_norms(self) -> Array:
        """The norm of all gradients of each step, float64.

        Of a `train.GroupedOptimizer` whose groups are limited apart it is the norm of the
        variables' norms, to within 1e-14; else to the bit that of the step's result.
        """
        return np.array([_global_norm(record.parts) for record in self._read()], np.float64)

    @property
    def scales(self) -> Array:
        """What the gradients of each step were multiplied by, float64, as `train.StepResult` says.

        Of groups limited apart, the smallest.
        """
        return np.array([_scale(record.parts) for record in self._read()], np.float64)

    @property
    def clipped(self) -> Array:
        """Whether any norm was above its limit, bool.

        With ``clipvalue``, which limits no norm, it is False.
        """
        return np.array([any(map(_is_clipped, record.parts)) for record in self._read()], np.bool_)

    @property
    def skipped(self) -> Array:
        """Whether a step was skipped, by any group of variables, as gradients were not finite."""
        return np.array(
            [any(part.result.skipped for part in record.parts) for record in self._read()], np.bool_
        )

    @property
    def norms(self) -> Array:
        """The norm of each variable's gradient, float64, of shape (steps, variables).

        NaN where a step had no gradient of the variable, and where that was NaN. Of a variable
        that was given twice, the norm of both.
        """
        return self._matrix(lambda record: [(part.variables, part.norms) for part in record.parts])

    @property
    def ratios(self) -> Array:
        """The norm of each variable's update divided by the variable's own before the step.

        float64, of shape (steps, variables); NaN where it was not taken. For a variable that was
        zero, infinite, and NaN if its update is zero too.
        """
        return self._matrix(
            lambda record: [] if record.change is None else [_ratios(record.change)]
        )

    def _matrix(
        self, read: Callable[[_Record], Iterable[tuple[Sequence[Variable], Array]]]
    ) -> Array:
        matrix = np.full((len(self._steps), len(self._columns)), np.nan)
        for row, record in zip(matrix, self._read(), strict=True):
            for variables, numbers in read(record):
                columns = [self._columns[variable] for variable in variables]
                if len(set(columns)) == len(columns):
                    row[columns] = numbers
                else:
                    for column, number in zip(columns, numbers, strict=True):
                        known = not np.isnan(row[column])
                        row[column] = np.hypot(row[column], number) if known else number
        return matrix

    def plot(self) -> Figure:
        """Draw norms, how many steps were clipped, updates beside weights, and a map of layers.

        Returns
        -------
        matplotlib.figure.Figure
            To be saved by ``savefig``; it needs no display. matplotlib is imported here.

        Raises
        ------
        ValueError
            If no step was kept.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> history = nc.GradientHistory()
        >>> optimizer = nc.train.GradientDescentOptimizer(0.5, history=history)
        >>> result = optimizer.apply_gradients([(np.array([3.0, 4.0]), nc.Variable([0.0, 0.0]))])
        >>> [axes.get_title(loc="left") for axes in history.plot().axes][:2]
        ['Norm of all gradients, before clipping', 'Steps clipped, in percent']
        """
        if not self._steps:
            raise ValueError("`self` must have a step to be drawn, got none")
        from numclip.train._history_picture import draw

        return draw(self, self._read()[-1].parts[-1].result.limit)

    def __repr__(self) -> str:
        clipped, skipped = int(self.clipped.sum()), int(self.skipped.sum())
        return (
            f"GradientHistory({len(self)} steps of {len(self._columns)} variables,"
            f" {clipped} clipped, {skipped} skipped)"
        )


def check_history(history: Any) -> GradientHistory | None:
    if history is not None and not isinstance(history, GradientHistory):
        raise TypeError(f"`history` must be a GradientHistory, got {_array.describe(history)}")
    return history


def _as_count(value: Any, argument: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"`{argument}` must be an integer, got {_array.describe(value)}")
    if value < 1:
        raise ValueError(f"`{argument}` must be 1 or more, got {value}")
    return int(value)


def _is_on_host(norms: Any) -> bool:
    return isinstance(norms, np.ndarray)


def _on_host(record: _Record) -> _Record:
    parts = [
        part._replace(
            norms=_array.on_host(part.norms),
            result=replace(part.result, global_norm=_array.on_host(part.result.global_norm)),
        )
        for part in record.parts
    ]
    change = record.change
    if change is not None:
        before, added = _array.on_host(change.before), _array.on_host(change.added)
        change = change._replace(before=before, added=added)
    return record._replace(parts=parts, change=change)


def _global_norm(parts: Sequence[Part]) -> float:
    if len(parts) == 1:
        return float(parts[0].result.global_norm)
    return float(global_norm([part.norms for part in parts]))


def _scale(parts: Sequence[Part]) -> float:
    return float(np.min([part.result.scale for part in parts]))


def _is_clipped(part: Part) -> bool:
    norm, limit = part.result.global_norm, part.result.limit
    if limit is not None and float(norm) > limit:
        return True
    return part.limit_of_each is not None and bool(np.any(part.norms > part.limit_of_each))


def _ratios(change: Change) -> tuple[Sequence[Variable], Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return change.variables, change.added / change.before
