"""Gradients of several losses, added up to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from numclip import _array, _threads
from numclip._array import Array
from numclip._cuda_libraries import cuda_array
from numclip._kernels.accumulate import (
    add_products,
    add_products_parallel,
    store_quotients,
    store_quotients_parallel,
)
from numclip._slices import IndexedSlices, sum_duplicates
from numclip._variable import Variable
from numclip.train._clipping import Clipping
from numclip.train._host import CheckedUpdates
from numclip.train._places import nonfinite_message, step_result
from numclip.train._updates import (
    Given,
    GradientsAndVariables,
    Update,
    VariablesByName,
    as_given,
    check_pairs,
)


class GradientAccumulator:
    r"""Add up gradients of several losses, for one update by their mean or their sum.

    .. math:: \frac{\sum_i w_i g_i}{\sum_i w_i}

    The losses may be of inputs of any sizes. A variable that a loss does not depend on, so that
    its gradient is None, has a gradient of zero there.

    Parameters
    ----------
    nonfinite : {"propagate", "raise", "skip"}
        What to do where a gradient is NaN or infinite: add it, raise FloatingPointError, or leave
        out all gradients that came with it, and count that in `skipped`.

    Raises
    ------
    ValueError
        If `nonfinite` is something else.

    Notes
    -----
    Sums are held in float64, whatever the variable's dtype, and rounded once, to that dtype, as
    they are read: 1,000 gradients of float16 are added as exactly as two. That takes 8 bytes for
    each number of a variable, twice a float32 gradient; a compensated sum in float32 would take as
    much. Rows of IndexedSlices stay rows, of 8 bytes a number, those that share an index summed;
    they become dense when a dense gradient joins them.

    Variables have to be on the host: those on a CUDA device are refused.

    References
    ----------
    ``gradient_accumulation_steps`` of Keras's optimizers, ``optax.MultiSteps``.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> gradients = nc.train.GradientAccumulator()
    >>> for gradient, images in [(np.array([1.0, 0.0]), 3), (np.array([5.0, 8.0]), 1)]:
    ...     added = gradients.add([(gradient, x)], weight=images)
    >>> gradients.mean()
    [(array([2., 2.]), Variable(shape=(2,), dtype=float64))]
    >>> optimizer = nc.train.GradientDescentOptimizer(0.5)
    >>> result = optimizer.apply_gradients(gradients.mean())
    >>> x.value
    array([0., 1.])
    """

    def __init__(self, *, nonfinite: str = "propagate") -> None:
        self._limits = Clipping(nonfinite=nonfinite).read()
        self.reset()

    def reset(self) -> None:
        """Begin anew, with no gradients, no weights, and none skipped.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> gradients = nc.train.GradientAccumulator()
        >>> added = gradients.add([(np.array([1.0]), nc.Variable([1.0]))])
        >>> gradients.reset()
        >>> gradients.sum()
        []
        """
        self._sums: dict[Variable, _Sum] = {}
        self._weight = 0.0
        self._skipped = 0

    @property
    def weight(self) -> float:
        """The sum of the weights of what was added."""
        return self._weight

    @property
    def skipped(self) -> int:
        """How many calls of `add` were left out, as a gradient was not finite."""
        return self._skipped

    def add(
        self,
        grads_and_vars: GradientsAndVariables | Mapping[str, Any],
        weight: float = 1.0,
        *,
        variables: VariablesByName | None = None,
    ) -> bool:
        """Add the gradients of one loss, times a weight.

        Everything is checked before anything is added. The gradients are neither changed nor kept.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable), or dict of name to gradient
            As of `Optimizer.apply_gradients`. None adds nothing, nor does a gradient of a variable
            that is not trainable. Those of a variable that is given twice are both added.
        weight : float
            Finite, and zero or more: the number of images that a loss is the mean of, say.
        variables : iterable of Variable, or dict of name to Variable
            Where the names of a dict of gradients are looked up.

        Returns
        -------
        bool
            Whether they were added: False where ``nonfinite="skip"`` has left them out.

        Raises
        ------
        TypeError, ValueError, IndexError
            As by `Optimizer.apply_gradients`, and if `weight` is not such a number, or a variable
            is on a CUDA device. Nothing has changed then.
        FloatingPointError
            With ``nonfinite="raise"``; it names the first gradient that is not finite.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.apply_gradients`` of TensorFlow, whose pairs these are.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable([1.0, 2.0])
        >>> gradients = nc.train.GradientAccumulator(nonfinite="skip")
        >>> gradients.add([(np.array([3.0, 4.0]), x)])
        True
        >>> gradients.add([(np.array([np.nan, 0.0]), x)])
        False
        >>> gradients.weight, gradients.skipped
        (1.0, 1)
        """
        given = as_given(grads_and_vars, variables)
        factor = _as_weight(weight)
        _refuse_cuda(given)
        updates = check_pairs(given, sums_duplicates=False)
        if not self._are_finite(given, updates):
            self._skipped += 1
            return False
        for update in updates:
            if update.variable not in self._sums:
                self._sums[update.variable] = _Sum(update.variable)
            self._sums[update.variable].add(update, factor)
        self._weight += factor
        return True

    def _are_finite(self, given: Given, updates: list[Update]) -> bool:
        if not self._limits.needs_norm:
            return True
        # Rows that share an index are not summed: halves may leave their range, float64 does not.
        norm = CheckedUpdates(updates, has_duplicates=False).clip(self._limits)
        return not step_result(norm, self._limits, lambda: nonfinite_message(given)).skipped

    def sum(self) -> list[tuple[Any, Variable]]:
        """Return the sum of the gradients, each times its weight, of each variable.

        Returns
        -------
        list of (gradient, variable)
            New arrays of the variables' shapes and dtypes, or IndexedSlices without duplicates, in
            the order in which the variables first came. Empty where nothing was added.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable(np.zeros((3, 1)))
        >>> gradients = nc.train.GradientAccumulator()
        >>> for row in (2, 0, 2):
        ...     added = gradients.add([(nc.IndexedSlices([[1.0]], [row]), x)])
        >>> gradients.sum()[0][0]
        IndexedSlices(values=array([[2.],
               [1.]]), indices=array([2, 0]), dense_shape=(3, 1))
        """
        return self._divided_by(1.0)

    def mean(self) -> list[tuple[Any, Variable]]:
        """Return the mean of the gradients, weighted, of each variable.

        Returns
        -------
        list of (gradient, variable)
            As of `sum`, each divided by `weight`.

        Raises
        ------
        ValueError
            If the weights are zero, as they are where nothing was added.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> x = nc.Variable([0.0])
        >>> gradients = nc.train.GradientAccumulator()
        >>> for number in (1.0, 2.0, 6.0):
        ...     added = gradients.add([(np.array([number]), x)])
        >>> gradients.mean()[0][0]
        array([3.])
        """
        if self._weight == 0.0:
            raise ValueError(
                f"`weight` must not be zero for a mean, got {self._weight} with"
                f" {self._skipped} skipped"
            )
        return self._divided_by(self._weight)

    def _divided_by(self, divisor: float) -> list[tuple[Any, Variable]]:
        return [(each.divided_by(divisor), variable) for variable, each in self._sums.items()]


def _as_weight(weight: Any) -> float:
    factor = _array.as_limit(weight, "weight")
    if factor == math.inf:
        raise ValueError(f"`weight` must be finite, got {factor}")
    return factor


def _refuse_cuda(given: Given) -> None:
    for (_, variable), position in zip(*given, strict=True):
        found = cuda_array(variable.array, f"grads_and_vars[{position}][1]")
        if found is not None:
            raise TypeError(
                f"`grads_and_vars[{position}][1]` must be on the host, got {variable!r}"
                f" on CUDA device {found.device}"
            )


class _Sum:
    """The sum of one variable's gradients: of rows, until one is dense."""

    def __init__(self, variable: Variable) -> None:
        self._shape = variable.shape
        self._dtype = variable.dtype.newbyteorder("=")
        self._dense: Array | None = None
        self._values = np.empty((0, *self._shape[1:]))
        self._indices = np.empty(0, np.int64)
        self._later: list[tuple[Array, Array]] = []

    def add(self, update: Update, weight: float) -> None:
        if update.rows is None:
            if self._dense is None:
                self._dense = self._made_dense()
            _add_products(update.gradient, weight, self._dense)
            return
        values = np.full(update.gradient.shape, -0.0)
        _add_products(update.gradient, weight, values)
        self._later.append((values, update.rows.copy()))
        # Summed when they are as many as the sums, each row is touched twice at most, on average.
        waiting = sum(len(indices) for _, indices in self._later)
        if self._dense is not None or waiting > len(self._indices):
            self._sum_rows()

    def _made_dense(self) -> Array:
        self._sum_rows()
        if not len(self._indices):
            # What is added to -0.0 keeps its sign, zeros too.
            return np.full(self._shape, -0.0)
        dense = np.zeros(self._shape)
        dense[self._indices] = self._values
        self._values, self._indices = self._values[:0].copy(), self._indices[:0].copy()
        return dense

    def _sum_rows(self) -> None:
        """Sum the rows that came since, in order of occurrence after those before."""
        if not self._later:
            return
        before = [] if self._dense is not None else [(self._values, self._indices)]
        values, indices = map(np.concatenate, zip(*before, *self._later, strict=True))
        summed, distinct = sum_duplicates(values, indices, self._shape, "grads_and_vars")
        self._later = []
        if self._dense is None:
            self._values, self._indices = summed, distinct
        else:
            self._dense[distinct] += summed

    def divided_by(self, divisor: float) -> Any:
        if self._dense is not None:
            return self._quotients(self._dense, divisor)
        self._sum_rows()
        values = self._quotients(self._values, divisor)
        return IndexedSlices(values, self._indices.copy(), self._shape)

    def _quotients(self, sums: Array, divisor: float) -> Array:
        quotients = np.empty(sums.shape, self._dtype)
        _call(store_quotients, store_quotients_parallel, sums, divisor, quotients)
        return quotients


def _add_products(numbers: Array, weight: float, sums: Array) -> None:
    _call(add_products, add_products_parallel, numbers, weight, sums)


def _call(loop: Any, parallel_loop: Any, source: Array, factor: float, target: Array) -> None:
    arguments = (_array.read_only(_array.flat(source)), factor, _array.flat(target))
    parts = _threads.parts_for(source.size)
    if parts == 1:
        loop(*arguments, 0, source.size)
    else:
        _threads.in_parts(parts, parallel_loop, *arguments)
