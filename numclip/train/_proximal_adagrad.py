"""Proximal Adagrad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._checks import not_negative, positive
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer
from numclip.train._proximal import proximal


class _ProximalAdagrad(NamedTuple):
    learning_rate: float
    l1: float
    l2: float


@rule_of(_ProximalAdagrad, slots=1)
def _proximal_adagrad(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    l1, l2 = kind(hyperparameters.l1), kind(hyperparameters.l2)
    accumulated = slots[0] + gradient * gradient
    rate = kind(hyperparameters.learning_rate) / kind(math.sqrt(accumulated))
    return proximal(number - gradient * rate, rate, l1, l2), (accumulated,)


class ProximalAdagradOptimizer(Optimizer):
    r"""Step as Adagrad, then shrink by penalties of size, at each element's own rate.

    .. math::

        a &\leftarrow a + g^2, \qquad \eta_a = \frac{\eta}{\sqrt{a}} \\
        p &= x - \eta_a g \\
        x &\leftarrow \frac{\operatorname{sign}(p) \max(|p| - \eta_a l_1, 0)}{1 + \eta_a l_2}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    initial_accumulator_value : float
        What the sums begin with, above 0.
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
        If `initial_accumulator_value` is not positive or a penalty is negative.

    Notes
    -----
    The slot is "accumulator", `initial_accumulator_value` at first. Of IndexedSlices, duplicates
    summed, only the rows that occur are updated. A gradient that is NaN or infinite makes its own
    elements NaN.

    References
    ----------
    ``tf.compat.v1.train.ProximalAdagradOptimizer`` of TensorFlow. J. Duchi, E. Hazan, Y. Singer,
    Adaptive subgradient methods for online learning and stochastic optimization, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 0.25])
    >>> optimizer = nc.train.ProximalAdagradOptimizer(
    ...     0.5, initial_accumulator_value=0.25, l1_regularization_strength=1.0
    ... )
    >>> result = optimizer.apply_gradients([(np.array([0.0, 0.0]), x)])
    >>> x.value
    array([0., 0.])
    """

    _slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: Hyperparameter,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "ProximalAdagrad",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)
        self._initial = positive(initial_accumulator_value, "initial_accumulator_value")
        self._l1 = not_negative(l1_regularization_strength, "l1_regularization_strength")
        self._l2 = not_negative(l2_regularization_strength, "l2_regularization_strength")

    def _initial_slot(self, name: str) -> float:
        return self._initial

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _ProximalAdagrad:
        return _ProximalAdagrad(now["learning_rate"], self._l1, self._l2)
