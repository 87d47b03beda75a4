"""Proximal gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._checks import not_negative
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer
from numclip.train._proximal import proximal


class _ProximalGradientDescent(NamedTuple):
    learning_rate: float
    l1: float
    l2: float


@rule_of(_ProximalGradientDescent, slots=0)
def _proximal_gradient_descent(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    rate = kind(hyperparameters.learning_rate)
    l1, l2 = kind(hyperparameters.l1), kind(hyperparameters.l2)
    return proximal(number - gradient * rate, rate, l1, l2), slots


class ProximalGradientDescentOptimizer(Optimizer):
    r"""Step against the gradient, then shrink by penalties of size.

    .. math::

        p &= x - \eta g \\
        x &\leftarrow \frac{\operatorname{sign}(p) \max(|p| - \eta l_1, 0)}{1 + \eta l_2}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    l1_regularization_strength : float
        The penalty :math:`l_1`, which makes small numbers zero; zero or more.
    l2_regularization_strength : float
        The penalty :math:`l_2`, zero or more.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Raises
    ------
    ValueError
        If a penalty is negative.

    Notes
    -----
    It has no slots. Of IndexedSlices, duplicates summed, only the rows that occur step and shrink.
    A gradient that is NaN or infinite makes its own elements so.

    References
    ----------
    ``tf.compat.v1.train.ProximalGradientDescentOptimizer`` of TensorFlow. J. Duchi, Y. Singer,
    Efficient online and batch learning using forward backward splitting, JMLR 10, 2009.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 0.25])
    >>> optimizer = nc.train.ProximalGradientDescentOptimizer(0.5, l1_regularization_strength=1.0)
    >>> result = optimizer.apply_gradients([(np.array([-1.0, 0.0]), x)])
    >>> x.value
    array([1., 0.])
    """

    def __init__(
        self,
        learning_rate: Hyperparameter,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalGradientDescent",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)
        self._l1 = not_negative(l1_regularization_strength, "l1_regularization_strength")
        self._l2 = not_negative(l2_regularization_strength, "l2_regularization_strength")

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _ProximalGradientDescent:
        return _ProximalGradientDescent(now["learning_rate"], self._l1, self._l2)
