"""Adagrad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._checks import positive
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _Adagrad(NamedTuple):
    learning_rate: float


@rule_of(_Adagrad, slots=1)
def _adagrad(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    accumulated = slots[0] + gradient * gradient
    step = gradient * kind(hyperparameters.learning_rate) / kind(math.sqrt(accumulated))
    return number - step, (accumulated,)


class AdagradOptimizer(Optimizer):
    r"""Step by the ratio of the gradient to the root of the sum of all its squares so far.

    .. math::

        a &\leftarrow a + g^2 \\
        x &\leftarrow x - \frac{\eta g}{\sqrt{a}}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    initial_accumulator_value : float
        What the sums begin with, above 0: nothing else keeps the ratio from 0 / 0.
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
        If `initial_accumulator_value` is not positive.

    Notes
    -----
    The slot is "accumulator", `initial_accumulator_value` at first. Of IndexedSlices, duplicates
    summed, only the rows that occur are updated. A gradient that is NaN or infinite makes its own
    elements NaN, and the slot's as it is.

    References
    ----------
    ``tf.compat.v1.train.AdagradOptimizer`` of TensorFlow. J. Duchi, E. Hazan, Y. Singer, Adaptive
    subgradient methods for online learning and stochastic optimization, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.AdagradOptimizer(0.5, initial_accumulator_value=0.25)
    >>> result = optimizer.apply_gradients([(np.array([0.0, 1.5**0.5]), x)])
    >>> x.value.round(4), optimizer.get_slot(x, "accumulator").value
    (array([1.    , 1.5371]), array([0.25, 1.75]))
    """

    _slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: Hyperparameter,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)
        self._initial = positive(initial_accumulator_value, "initial_accumulator_value")

    def _initial_slot(self, name: str) -> float:
        return self._initial

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _Adagrad:
        return _Adagrad(**now)
