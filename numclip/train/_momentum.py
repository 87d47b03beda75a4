"""Momentum, also as Nesterov has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _Momentum(NamedTuple):
    learning_rate: float
    momentum: float


@rule_of(_Momentum, slots=1)
def _momentum(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    accumulated = slots[0] * kind(hyperparameters.momentum) + gradient
    return number - accumulated * kind(hyperparameters.learning_rate), (accumulated,)


class _Nesterov(NamedTuple):
    learning_rate: float
    momentum: float


@rule_of(_Nesterov, slots=1)
def _nesterov(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    rate, momentum = kind(hyperparameters.learning_rate), kind(hyperparameters.momentum)
    accumulated = slots[0] * momentum + gradient
    return number - (gradient * rate + accumulated * momentum * rate), (accumulated,)


class MomentumOptimizer(Optimizer):
    r"""Step along the decaying sum of all gradients so far.

    .. math::

        a &\leftarrow \mu a + g \\
        x &\leftarrow x - \eta a

    and with `use_nesterov` :math:`x \leftarrow x - \eta (g + \mu a)`.

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`, which is not part of the sum: where it changes, the whole sum counts
        at the new rate, as in TensorFlow 1 and PyTorch, and other than in Keras.
    momentum : float or callable
        The sum's decay :math:`\mu`.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    use_nesterov : bool
        Whether to step as if the gradient had been taken one step ahead.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Notes
    -----
    The slot is "momentum", zeros at first. Of IndexedSlices, duplicates summed, only the rows that
    occur are updated; the sums of others do not decay. A gradient that is NaN or infinite makes its
    own elements so, in the slot too.

    References
    ----------
    ``tf.compat.v1.train.MomentumOptimizer`` of TensorFlow. I. Sutskever, J. Martens, G. Dahl,
    G. Hinton, On the importance of initialization and momentum in deep learning, ICML 2013.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.MomentumOptimizer(0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     result = optimizer.apply_gradients([(np.array([1.0, 0.0]), x)])
    >>> x.value, optimizer.get_slot(x, "momentum").value
    (array([-0.25,  2.  ]), array([1.5, 0. ]))
    """

    _slot_names = ("momentum",)

    def __init__(
        self,
        learning_rate: Hyperparameter,
        momentum: Hyperparameter,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate, "momentum": momentum}, **clipping)
        self._use_nesterov = use_nesterov

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _Momentum | _Nesterov:
        return _Nesterov(**now) if self._use_nesterov else _Momentum(**now)
