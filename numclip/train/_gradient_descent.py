"""Gradient descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numclip._kernels.update import (
    rule_of,
    update_0,
    update_0_cuda,
    update_rows_0,
    update_rows_0_cuda,
)
from numclip._slices import IndexedSlices
from numclip.train._loop import Loop
from numclip.train._optimizer import Hyperparameter, Optimizer, read_hyperparameter


class _GradientDescent(NamedTuple):
    learning_rate: float


@rule_of(_GradientDescent)
def _gradient_descent(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    return number - gradient * kind(hyperparameters.learning_rate), slots


class GradientDescentOptimizer(Optimizer):
    r"""Step against the gradient.

    .. math:: x \leftarrow x - \eta g

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; a callable without arguments is called at each step.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.

    Notes
    -----
    It has no slots. The rows of IndexedSlices are subtracted one after another, duplicates in
    order of occurrence. A gradient that is NaN or infinite makes its own elements so.

    References
    ----------
    ``tf.compat.v1.train.GradientDescentOptimizer`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> nc.train.GradientDescentOptimizer(0.5).apply_gradients([(np.array([2.0, 0.0]), x)])
    >>> x.value
    array([0., 2.])
    """

    def __init__(
        self,
        learning_rate: Hyperparameter,
        use_locking: bool = False,
        name: str = "GradientDescent",
    ) -> None:
        super().__init__(name)
        self._learning_rate = learning_rate

    def _begin_step(self) -> None:
        self._step = _GradientDescent(read_hyperparameter(self._learning_rate, "learning_rate"))

    def _sum_duplicates(self, gradient: IndexedSlices) -> IndexedSlices:
        return gradient

    def _dense_loop(self, kind: type[np.floating[Any]]) -> Loop:
        return Loop(self._step, update_0, update_0_cuda)

    def _row_loop(self, kind: type[np.floating[Any]]) -> Loop:
        return Loop(self._step, update_rows_0, update_rows_0_cuda)
