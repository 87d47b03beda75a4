"""RMSProp, centered or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._compile import rule
from numclip._kernels.rules import rule_of
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _RMSProp(NamedTuple):
    learning_rate: float
    one_minus_decay: float
    momentum: float
    epsilon: float


class _CenteredRMSProp(NamedTuple):
    learning_rate: float
    one_minus_decay: float
    momentum: float
    epsilon: float


@rule
def _next_momentum(hyperparameters: Any, momentum: Any, gradient: Any, variance: Any) -> Any:
    kind = type(gradient)
    root = kind(math.sqrt(variance + kind(hyperparameters.epsilon)))
    rate = kind(hyperparameters.learning_rate)
    return momentum * kind(hyperparameters.momentum) + gradient * rate / root


@rule_of(_RMSProp, slots=2)
def _rmsprop(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    squares, momentum = slots
    one_minus_decay = type(number)(hyperparameters.one_minus_decay)
    squares += (gradient * gradient - squares) * one_minus_decay
    momentum = _next_momentum(hyperparameters, momentum, gradient, squares)
    return number - momentum, (squares, momentum)


@rule_of(_CenteredRMSProp, slots=3)
def _centered_rmsprop(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    squares, mean, momentum = slots
    one_minus_decay = type(number)(hyperparameters.one_minus_decay)
    squares += (gradient * gradient - squares) * one_minus_decay
    mean += (gradient - mean) * one_minus_decay
    momentum = _next_momentum(hyperparameters, momentum, gradient, squares - mean * mean)
    return number - momentum, (squares, mean, momentum)


class RMSPropOptimizer(Optimizer):
    r"""Step by the ratio of the gradient to the root of its running mean square.

    .. math::

        s &\leftarrow d s + (1 - d) g^2 \\
        p &\leftarrow \mu p + \frac{\eta g}{\sqrt{s + \epsilon}} \\
        x &\leftarrow x - p

    With `centered` the running mean of the gradient is kept too, and its square taken off: the
    root is that of the gradient's estimated variance, :math:`\sqrt{s - m^2 + \epsilon}`.

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    decay : float or callable
        The decay :math:`d` of the means.
    momentum : float or callable
        The decay :math:`\mu` of the sum of steps.
    epsilon : float or callable
        Added under the root, as in TensorFlow 1 and Keras, and other than in PyTorch.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    centered : bool
        Whether to divide by the estimated deviation and not by the root mean square.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Notes
    -----
    Slots are "rms", ones at first, "momentum", zeros, and if centered "mg", zeros. Of
    IndexedSlices, duplicates summed, only the rows that occur are updated; the means of others do
    not decay. A gradient that is NaN or infinite makes its own elements NaN, in "momentum" too;
    those of "rms" and "mg" are NaN or infinite as it is.

    References
    ----------
    ``tf.compat.v1.train.RMSPropOptimizer`` of TensorFlow. T. Tieleman, G. Hinton, Lecture 6.5 of
    Neural networks for machine learning, 2012; centered: A. Graves, arXiv:1308.0850, section 2.2.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.RMSPropOptimizer(0.5, decay=0.75)
    >>> result = optimizer.apply_gradients([(np.array([0.0, 13**0.5]), x)])
    >>> x.value.round(4), optimizer.get_slot(x, "rms").value.round(4)
    (array([1.    , 1.0986]), array([0.75, 4.  ]))
    """

    def __init__(
        self,
        learning_rate: Hyperparameter,
        decay: Hyperparameter = 0.9,
        momentum: Hyperparameter = 0.0,
        epsilon: Hyperparameter = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        self._slot_names = ("rms", "mg", "momentum") if centered else ("rms", "momentum")
        hyperparameters = {
            "learning_rate": learning_rate,
            "decay": decay,
            "momentum": momentum,
            "epsilon": epsilon,
        }
        super().__init__(name, hyperparameters, **clipping)
        self._centered = centered

    def _initial_slot(self, name: str) -> float:
        return 1.0 if name == "rms" else 0.0

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _RMSProp | _CenteredRMSProp:
        rule = _CenteredRMSProp if self._centered else _RMSProp
        one_minus_decay = float(kind(1) - kind(now["decay"]))
        return rule(now["learning_rate"], one_minus_decay, now["momentum"], now["epsilon"])
