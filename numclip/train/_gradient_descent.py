"""Gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _GradientDescent(NamedTuple):
    learning_rate: float


@rule_of(_GradientDescent, slots=0)
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
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Notes
    -----
    It has no slots. The rows of IndexedSlices are subtracted one after another, duplicates in
    order of occurrence; with clipping they are summed before. A gradient that is NaN or infinite
    makes its own elements so.

    References
    ----------
    ``tf.compat.v1.train.GradientDescentOptimizer`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.GradientDescentOptimizer(0.5)
    >>> result = optimizer.apply_gradients([(np.array([2.0, 0.0]), x)])
    >>> x.value
    array([0., 2.])
    """

    _sums_duplicates = False

    def __init__(
        self,
        learning_rate: Hyperparameter,
        use_locking: bool = False,
        name: str = "GradientDescent",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _GradientDescent:
        return _GradientDescent(**now)
