"""Adam."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from numclip._kernels.update import (
    rule_of,
    update_2,
    update_2_cuda,
    update_all_rows_2,
    update_all_rows_2_cuda,
)
from numclip.train._loop import Loop
from numclip.train._optimizer import Hyperparameter, Optimizer, read_hyperparameter


class _Adam(NamedTuple):
    step_size: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float


@rule_of(_Adam)
def _adam(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    m, v = slots
    m += (gradient - m) * kind(hyperparameters.one_minus_beta1)
    v += (gradient * gradient - v) * kind(hyperparameters.one_minus_beta2)
    step = m * kind(hyperparameters.step_size) / (math.sqrt(v) + kind(hyperparameters.epsilon))
    return number - step, (m, v)


class _AdamRows(NamedTuple):
    step_size: float
    beta1: float
    beta2: float
    one_minus_beta1: float
    one_minus_beta2: float
    epsilon: float


@rule_of(_AdamRows)
def _adam_rows(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    # The same step as `_adam`, in the order of operations that TensorFlow has for IndexedSlices.
    kind = type(number)
    m, v = slots
    m = m * kind(hyperparameters.beta1) + gradient * kind(hyperparameters.one_minus_beta1)
    v = v * kind(hyperparameters.beta2) + gradient * gradient * kind(
        hyperparameters.one_minus_beta2
    )
    step = kind(hyperparameters.step_size) * m / (math.sqrt(v) + kind(hyperparameters.epsilon))
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

    Notes
    -----
    Slots are "m" and "v", zeros at first. IndexedSlices, duplicates summed, give the same as
    their dense gradient would: the means of all rows decay, and all rows move. Callables are
    called at each step. Powers of the betas are kept in float32 for variables that are computed in
    float32 and in float64 for float64. A gradient that is NaN or infinite makes its own elements
    so, in the slots too.

    References
    ----------
    ``tf.compat.v1.train.AdamOptimizer`` of TensorFlow. D. P. Kingma, J. Ba, Adam: a method for
    stochastic optimization, ICLR 2015.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([1.0, 2.0])
    >>> nc.train.AdamOptimizer(0.5).apply_gradients([(np.array([2.0, 0.0]), x)])
    >>> x.value.round(6)
    array([0.5, 2. ])
    """

    _slot_names = ("m", "v")

    def __init__(
        self,
        learning_rate: Hyperparameter = 0.001,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        epsilon: Hyperparameter = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        super().__init__(name)
        self._learning_rate = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._powers: dict[type[Any], tuple[Any, Any]] = {}

    def _begin_step(self) -> None:
        beta1 = read_hyperparameter(self._beta1, "beta1")
        beta2 = read_hyperparameter(self._beta2, "beta2")
        epsilon = read_hyperparameter(self._epsilon, "epsilon")
        learning_rate = read_hyperparameter(self._learning_rate, "learning_rate")
        self._steps: dict[Any, _AdamRows] = {
            kind: self._step(kind, learning_rate, beta1, beta2, epsilon)
            for kind in (np.float32, np.float64)
        }

    def _step(
        self, kind: type[Any], rate: float, beta1: float, beta2: float, epsilon: float
    ) -> _AdamRows:
        power1, power2 = self._powers.get(kind, (kind(beta1), kind(beta2)))
        one = kind(1)
        with np.errstate(all="ignore"):
            step_size = kind(rate) * np.sqrt(one - power2) / (one - power1)
        return _AdamRows(
            float(step_size),
            float(kind(beta1)),
            float(kind(beta2)),
            float(one - kind(beta1)),
            float(one - kind(beta2)),
            float(kind(epsilon)),
        )

    def _dense_loop(self, kind: type[np.floating[Any]]) -> Loop:
        step = self._steps[kind]
        dense = _Adam(step.step_size, step.one_minus_beta1, step.one_minus_beta2, step.epsilon)
        return Loop(dense, update_2, update_2_cuda)

    def _row_loop(self, kind: type[np.floating[Any]]) -> Loop:
        return Loop(self._steps[kind], update_all_rows_2, update_all_rows_2_cuda, True)

    def _end_step(self) -> None:
        for kind, step in self._steps.items():
            beta1, beta2 = kind(step.beta1), kind(step.beta2)
            power1, power2 = self._powers.get(kind, (beta1, beta2))
            self._powers[kind] = (power1 * beta1, power2 * beta2)
