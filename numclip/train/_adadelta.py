"""Adadelta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _Adadelta(NamedTuple):
    learning_rate: float
    rho: float
    one_minus_rho: float
    epsilon: float


@rule_of(_Adadelta, slots=2)
def _adadelta(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    rho, one_minus_rho = kind(hyperparameters.rho), kind(hyperparameters.one_minus_rho)
    epsilon = kind(hyperparameters.epsilon)
    squares, squared_updates = slots
    squares = squares * rho + gradient * gradient * one_minus_rho
    update_root = kind(math.sqrt(squared_updates + epsilon))
    update = update_root / kind(math.sqrt(squares + epsilon)) * gradient
    squared_updates = squared_updates * rho + update * update * one_minus_rho
    return number - update * kind(hyperparameters.learning_rate), (squares, squared_updates)


class AdadeltaOptimizer(Optimizer):
    r"""Step by the gradient, in proportion to the sizes of recent updates and gradients.

    .. math::

        a &\leftarrow \rho a + (1 - \rho) g^2 \\
        \Delta &= \frac{\sqrt{u + \epsilon}}{\sqrt{a + \epsilon}} g \\
        x &\leftarrow x - \eta \Delta \\
        u &\leftarrow \rho u + (1 - \rho) \Delta^2

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`; the paper's is 1.
    rho : float or callable
        The decay :math:`\rho` of both means.
    epsilon : float or callable
        What keeps the first updates from zero.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Notes
    -----
    Slots are "accum" and "accum_update", zeros at first. Of IndexedSlices, duplicates summed, only
    the rows that occur are updated; the means of others do not decay. A gradient that is NaN or
    infinite makes its own elements NaN, in "accum_update" too; those of "accum" are NaN or infinite
    as it is.

    References
    ----------
    ``tf.compat.v1.train.AdadeltaOptimizer`` of TensorFlow. M. D. Zeiler, ADADELTA: an adaptive
    learning rate method, arXiv:1212.5701.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.AdadeltaOptimizer(1.0, rho=0.75, epsilon=0.01)
    >>> result = optimizer.apply_gradients([(np.array([0.0, 2.0]), x)])
    >>> x.value.round(4)
    array([1.   , 1.801])
    """

    _slot_names = ("accum", "accum_update")

    def __init__(
        self,
        learning_rate: Hyperparameter = 0.001,
        rho: Hyperparameter = 0.95,
        epsilon: Hyperparameter = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        hyperparameters = {"learning_rate": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__(name, hyperparameters, **clipping)

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _Adadelta:
        return _Adadelta(one_minus_rho=float(kind(1) - kind(now["rho"])), **now)
