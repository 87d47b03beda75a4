"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._compile import rule
from numclip._kernels.rules import rule_of
from numclip.train._adam import AdamOptimizer, adam, adam_rows
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter


class _AdamW(NamedTuple):
    step_size: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float
    learning_rate: float
    weight_decay: float


class _AdamWRows(NamedTuple):
    step_size: float
    beta1: float
    beta2: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float
    learning_rate: float
    weight_decay: float


@rule
def _decayed(hyperparameters: Any, number: Any) -> Any:
    kind = type(number)
    return number - number * kind(hyperparameters.weight_decay) * kind(
        hyperparameters.learning_rate
    )


@rule_of(_AdamW, slots=2)
def _adamw(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    return adam(hyperparameters, _decayed(hyperparameters, number), gradient, slots)


@rule_of(_AdamWRows, slots=2)
def _adamw_rows(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    return adam_rows(hyperparameters, _decayed(hyperparameters, number), gradient, slots)


class AdamWOptimizer(AdamOptimizer):
    r"""Step as Adam, and move all numbers toward zero, which the means do not see.

    .. math::

        x &\leftarrow x - \eta \lambda x \\
        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        x &\leftarrow x - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
            \frac{m}{\sqrt{v} + \hat\epsilon}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`, which the decay is multiplied by too, as in Keras and PyTorch.
    weight_decay : float or callable
        The decay :math:`\lambda`; Keras's default is 0.004, PyTorch's 0.01.
    beta1, beta2, epsilon, use_locking
        As of `AdamOptimizer`.
    name : str
        The optimizer's name.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.
        The decay is not clipped.

    Notes
    -----
    Slots, IndexedSlices, callables and what is not finite as of `AdamOptimizer`: with
    IndexedSlices all rows decay. A variable that must not decay, such as a bias, belongs to another
    optimizer.

    References
    ----------
    I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019, algorithm 2, with
    the schedule multiplier the rate itself; ``keras.optimizers.AdamW``. TensorFlow 1 has none.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.AdamWOptimizer(0.5, weight_decay=0.25)
    >>> result = optimizer.apply_gradients([(np.array([2.0, 0.0]), x)])
    >>> x.value.round(6)
    array([0.375, 1.75 ])
    """

    def __init__(
        self,
        learning_rate: Hyperparameter = 0.001,
        weight_decay: Hyperparameter = 0.004,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
        use_locking: bool = False,
        name: str = "AdamW",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, use_locking, name, **clipping)
        self._hyperparameters["weight_decay"] = weight_decay

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> Any:
        numbers = super()._rule(kind, now)._asdict()
        decay = {name: now[name] for name in ("learning_rate", "weight_decay")}
        return _AdamW(**numbers, **decay)

    def _row_rule(self, kind: type[Any], now: Mapping[str, float]) -> Any:
        numbers = super()._row_rule(kind, now)._asdict()
        decay = {name: now[name] for name in ("learning_rate", "weight_decay")}
        return _AdamWRows(**numbers, **decay)
