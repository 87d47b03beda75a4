"""Adam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._beta_powers import BetaPowers
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer


class _Adam(NamedTuple):
    step_size: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float


@rule_of(_Adam, slots=2)
def adam(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    m, v = slots
    m += (gradient - m) * kind(hyperparameters.one_minus_beta1)
    v += (gradient * gradient - v) * kind(hyperparameters.one_minus_beta2)
    step = (
        m * kind(hyperparameters.step_size) / (kind(math.sqrt(v)) + kind(hyperparameters.epsilon))
    )
    return number - step, (m, v)


class _AdamRows(NamedTuple):
    step_size: float
    beta1: float
    beta2: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float


@rule_of(_AdamRows, slots=2)
def adam_rows(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    # The same step as `adam`, in the order of operations that TensorFlow has for IndexedSlices.
    kind = type(number)
    m, v = slots
    m = m * kind(hyperparameters.beta1) + gradient * kind(hyperparameters.one_minus_beta1)
    v = v * kind(hyperparameters.beta2) + gradient * gradient * kind(
        hyperparameters.one_minus_beta2
    )
    step = (
        kind(hyperparameters.step_size) * m / (kind(math.sqrt(v)) + kind(hyperparameters.epsilon))
    )
    return number - step, (m, v)


class AdamOptimizer(Optimizer):
    r"""Step by the ratio of the gradient's running mean to the root of its running mean square.

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1) g \\
        v &\leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        x &\leftarrow x - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
            \frac{m}{\sqrt{v} + \hat\epsilon}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    beta1, beta2 : float or callable
        Decay of the two means, at least 0 and below 1.
    epsilon : float or callable
        :math:`\hat\epsilon` of the paper's section 2, which is not that of its algorithm 1.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Notes
    -----
    Slots are "m" and "v", zeros at first. IndexedSlices, duplicates summed, give the same as
    their dense gradient would: the means of all rows decay, and all rows move. Callables are
    called at each step. Powers of the betas are kept in float32 for variables that are computed in
    float32 and in float64 for float64. A gradient that is NaN or infinite makes its own elements
    NaN, and the slots' as it is.

    References
    ----------
    ``tf.compat.v1.train.AdamOptimizer`` of TensorFlow. D. P. Kingma, J. Ba, Adam: a method for
    stochastic optimization, ICLR 2015.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> optimizer = nc.train.AdamOptimizer(0.5)
    >>> result = optimizer.apply_gradients([(np.array([2.0, 0.0]), x)])
    >>> x.value.round(6)
    array([0.5, 2. ])
    """

    _slot_names = ("m", "v")
    _takes_all_rows = True

    def __init__(
        self,
        learning_rate: Hyperparameter = 0.001,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        hyperparameters = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
        }
        super().__init__(name, hyperparameters, **clipping)
        self._powers = BetaPowers()

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> Any:
        rows = self._row_numbers(kind, now)
        return _Adam(rows.step_size, rows.one_minus_beta1, rows.one_minus_beta2, rows.epsilon)

    def _row_rule(self, kind: type[Any], now: Mapping[str, float]) -> Any:
        return self._row_numbers(kind, now)

    def _row_numbers(self, kind: type[Any], now: Mapping[str, float]) -> _AdamRows:
        beta1, beta2, one = kind(now["beta1"]), kind(now["beta2"]), kind(1)
        rate = kind(now["learning_rate"])
        return _AdamRows(
            float(self._powers.step_size(rate, beta1, beta2)),
            float(beta1),
            float(beta2),
            float(one - beta1),
            float(one - beta2),
            now["epsilon"],
        )

    def _end_step(self, now: Mapping[str, float]) -> None:
        self._powers.advance(now["beta1"], now["beta2"])

    def _shared_state(self) -> dict[str, Any]:
        return self._powers.state()

    def _load_shared_state(self, state: Mapping[str, Any]) -> None:
        self._powers.load(state)
