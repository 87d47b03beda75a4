"""What gradients are like, variable by variable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from numclip import _array
from numclip._array import Array
from numclip._norm import global_norm
from numclip._slices import IndexedSlices
from numclip._variable import Variable, key_for
from numclip.train._updates import (
    Given,
    GradientsAndVariables,
    VariablesByName,
    as_pairs,
    check_pairs,
)

if TYPE_CHECKING:
    from rich.table import Table

# Numbers that are looked at at once, so that no large array is made for it.
_BLOCK = 1 << 16


class VariableSummary(NamedTuple):
    """The gradient of one variable, in numbers; NaN where there is none."""

    name: str
    shape: tuple[int, ...]
    # "dense", "rows" for IndexedSlices, "none".
    kind: str
    norm: float
    root_mean_square: float
    largest: float
    zeros: float
    nonfinite: float
    ratio: float


class GradientSummary(Sequence[VariableSummary]):
    """The gradients of variables, in numbers: a sequence, and a table when printed."""

    def __init__(self, rows: Sequence[VariableSummary]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> VariableSummary: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[VariableSummary, ...]: ...

    def __getitem__(self, index: int | slice) -> VariableSummary | tuple[VariableSummary, ...]:
        return self._rows[index]

    def __rich__(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        # Of 80 columns, names have some 15.
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("variable")
        for title in ("shape", "norm", "rms", "largest", "zeros", "NaN, inf", "ratio"):
            table.add_column(title, justify="right", no_wrap=True)
        for row in self._rows:
            table.add_row(
                row.name,
                _shape(row),
                *map(_number, (row.norm, row.root_mean_square, row.largest)),
                *map(_share, (row.zeros, row.nonfinite)),
                _number(row.ratio),
                style="bold red" if row.nonfinite > 0 else None,
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        # As wide as it comes to, so that nothing is cut off in a file.
        console = Console(width=1_000, color_system=None, force_terminal=False, no_color=True)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")

    def __repr__(self) -> str:
        return f"GradientSummary({list(self._rows)!r})"


def summarize_gradients(
    grads_and_vars: GradientsAndVariables | Mapping[str, Any],
    *,
    variables: VariablesByName | None = None,
) -> GradientSummary:
    r"""Return what gradients are like, as numbers and, when printed, as a table.

    Parameters
    ----------
    grads_and_vars : iterable of (gradient, variable), or dict of name to gradient
        As of `train.Optimizer.apply_gradients`; variables that are not trainable, too. Rows of
        IndexedSlices that share an index are summed, and rows that they do not have are zeros.
    variables : iterable of Variable, or dict of name to Variable
        Where the names of a dict of gradients are looked up.

    Returns
    -------
    sequence of VariableSummary
        A NamedTuple for each pair, in order. ``print`` shows a table, as `rich` does. Its fields:

        - ``name``, ``shape``: the variable's; one without a name goes by "Variable".
        - ``kind``: "dense", "rows" for IndexedSlices, or "none", of which all numbers are NaN.
        - ``norm``: the Euclidean norm, to the bit that of `numclip.global_norm`.
        - ``root_mean_square``: the norm by the square root of the number of elements.
        - ``largest``: the largest magnitude; infinite or NaN if any is.
        - ``zeros``, ``nonfinite``: the shares of elements that are zero, and NaN or infinite.
        - ``ratio``: the norm by that of the variable. Far below the others' it has vanished, far
          above it explodes. Infinite where the variable is zero, NaN where both are.

        Those of an empty variable are zero, but for ``ratio``, which is NaN.

    Raises
    ------
    TypeError, ValueError, IndexError
        As by `train.Optimizer.apply_gradients`.

    Notes
    -----
    Arrays on a CUDA device are copied to the host, which waits for them.

    References
    ----------
    X. Glorot, Y. Bengio, *Understanding the difficulty of training deep feedforward neural
    networks*, AISTATS 2010.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x, y = nc.Variable([[2.0, 0.0]], name="x"), nc.Variable([1.0], name="y")
    >>> summary = nc.summarize_gradients([(np.array([[3.0, 0.0]]), x), (np.array([np.inf]), y)])
    >>> summary[0].norm, summary[0].zeros, summary[0].ratio
    (3.0, 0.5, 1.5)
    >>> print(summary)
     variable  shape  norm  rms  largest  zeros  NaN, inf  ratio
     ────────────────────────────────────────────────────────────
     x           1x2     3  2.1        3  50.0%         -    1.5
     y             1   inf  inf      inf      -    100.0%    inf
    """
    pairs = as_pairs(grads_and_vars, variables)
    present = [i for i, (gradient, _) in enumerate(pairs) if gradient is not None]
    updates = check_pairs(Given(pairs, range(len(pairs))).some(present), sums_duplicates=False)
    # Dense gradients that are numbers or lists have become arrays.
    dense = {each.position: each.gradient for each in updates if each.rows is None}
    names: dict[Variable, str] = {}
    for _, variable in pairs:
        if variable not in names:
            names[variable] = key_for(variable, names.values())
    return GradientSummary(
        [
            _summary(names[variable], variable, dense.get(i, gradient))
            for i, (gradient, variable) in enumerate(pairs)
        ]
    )


def _summary(name: str, variable: Variable, gradient: Any) -> VariableSummary:
    if gradient is None:
        return VariableSummary(name, variable.shape, "none", *[math.nan] * 6)
    is_dense = not isinstance(gradient, IndexedSlices)
    numbers = _array.on_host(gradient) if is_dense else _summed(gradient)
    norm, of_variable = _norm(numbers), _norm(_array.on_host(variable.array))
    largest, zeros, nonfinite = _elements(numbers)
    # Rows that are not held are zero.
    zeros += variable.size - numbers.size
    size = max(variable.size, 1)
    return VariableSummary(
        name,
        variable.shape,
        "dense" if is_dense else "rows",
        norm,
        norm / math.sqrt(size),
        largest,
        zeros / size,
        nonfinite / size,
        _quotient(norm, of_variable),
    )


def _summed(gradient: IndexedSlices) -> Array:
    there = IndexedSlices(_array.on_host(gradient.values), _array.on_host(gradient.indices))
    return np.asarray(there.coalesce().values)


def _norm(array: Array) -> float:
    return float(global_norm([array]))


def _elements(array: Array) -> tuple[float, int, int]:
    """Return the largest magnitude, and how many are zero, and how many are not finite."""
    largest, zeros, nonfinite = 0.0, 0, 0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        numbers = flat[start : start + _BLOCK].astype(np.float64)
        largest = float(np.maximum(largest, np.abs(numbers).max()))
        zeros += int(np.count_nonzero(numbers == 0))
        nonfinite += int(np.count_nonzero(~np.isfinite(numbers)))
    return largest, zeros, nonfinite


def _quotient(norm: float, of_variable: float) -> float:
    if of_variable == 0:
        return math.inf if norm > 0 else math.nan
    return norm / of_variable


def _shape(row: VariableSummary) -> str:
    shape = "x".join(map(str, row.shape)) or "scalar"
    return shape if row.kind == "dense" else f"{shape}, {row.kind}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"


def _share(value: float) -> str:
    if math.isnan(value) or value == 0:
        return "-"
    return f"{value:.1%}" if value >= 0.001 else "< 0.1%"
