"""Gradients of several losses, added up to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numclip import _array
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import cuda_array
from numclip._variable import Variable
from numclip.train._clipping import Clipping
from numclip.train._gradient_sum import GradientSum
from numclip.train._places import nonfinite_message, norm_of, step_result
from numclip.train._updates import (
    Given,
    GradientsAndVariables,
    Update,
    VariablesByName,
    as_given,
    check_pairs,
)

if TYPE_CHECKING:
    from numclip.train._cuda_gradient_sum import CudaGradientSum


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

    Sums of variables on a CUDA device are there, with the host's bits. The device is waited for
    where IndexedSlices come, for the range of their indices, now and then for how many of them
    differ, and where ``nonfinite`` asks for a norm.

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
        self._sums: dict[Variable, GradientSum | CudaGradientSum] = {}
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
            As by `Optimizer.apply_gradients`, and if `weight` is not such a number, or a variable's
            array is of another shape or in another place than before. Nothing has changed then.
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
        updates = check_pairs(given, sums_duplicates=False)
        for update in updates:
            self._check_is_as_before(update)
        if not self._are_finite(given, updates):
            self._skipped += 1
            return False
        for update in updates:
            variable = update.variable
            if variable not in self._sums:
                self._sums[variable] = _new_sum(variable)
            self._sums[variable].add(update, factor)
        self._weight += factor
        return True

    def _check_is_as_before(self, update: Update) -> None:
        held = self._sums.get(update.variable)
        if held is None:
            return
        is_on_host = isinstance(held, GradientSum)
        if held.shape != update.variable.shape or is_on_host == isinstance(
            update.gradient, CudaArray
        ):
            raise ValueError(
                f"`grads_and_vars[{update.position}][1]` must be where it was, and of shape"
                f" {held.shape}, until `reset`, got {update.variable!r}"
            )

    def _are_finite(self, given: Given, updates: list[Update]) -> bool:
        if not self._limits.needs_norm:
            return True
        # Rows that share an index are not summed: halves may leave their range, float64 does not.
        norm = norm_of(updates, self._limits)
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


def _new_sum(variable: Variable) -> GradientSum | CudaGradientSum:
    on_device = cuda_array(variable.array, "variable")
    if on_device is None:
        return GradientSum(variable)
    from numclip.train._cuda_gradient_sum import CudaGradientSum

    return CudaGradientSum(variable, on_device)
