"""Adagrad with dual averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._kernels.rules import rule_of
from numclip.train._checks import check_step, not_negative, positive
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer
from numclip.train._proximal import shrunk


class _AdagradDA(NamedTuple):
    learning_rate: float
    l1: float
    l2: float
    step: float


@rule_of(_AdagradDA, slots=2)
def _adagrad_da(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    kind = type(number)
    rate, step = kind(hyperparameters.learning_rate), kind(hyperparameters.step)
    l1, l2 = kind(hyperparameters.l1), kind(hyperparameters.l2)
    total, squares = slots[0] + gradient, slots[1] + gradient * gradient
    scale = l2 * step * rate + kind(math.sqrt(squares))
    return -shrunk(total, l1 * step) * rate / scale, (total, squares)


class AdagradDAOptimizer(Optimizer):
    r"""Choose what would have been best for all gradients so far, under penalties of size.

    .. math::

        G &\leftarrow G + g, \qquad a \leftarrow a + g^2, \qquad T = \text{global\_step} + 1 \\
        x &\leftarrow -\frac{\eta \operatorname{sign}(G) \max(|G| - l_1 T, 0)}
            {l_2 T \eta + \sqrt{a}}

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    global_step : Variable or integer array
        The steps taken so far, a scalar: hand it to `apply_gradients` too, which increments it.
    initial_gradient_squared_accumulator_value : float
        What the sums of squares begin with, above 0.
    l1_regularization_strength : float
        The penalty :math:`l_1` for each step, which makes most numbers zero; zero or more.
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
    TypeError
        If `global_step` is no array of integers.
    ValueError
        If `initial_gradient_squared_accumulator_value` is not positive or a penalty is negative.

    Notes
    -----
    A variable's initial value has no part in it: the first step overwrites it, as in TensorFlow.
    Slots are "gradient_accumulator", zeros at first, and "gradient_squared_accumulator", which
    begins with `initial_gradient_squared_accumulator_value`. Of IndexedSlices, duplicates summed,
    only the rows that occur are updated. A gradient that is NaN or infinite makes its own elements
    NaN.

    References
    ----------
    ``tf.compat.v1.train.AdagradDAOptimizer`` of TensorFlow. J. Duchi, E. Hazan, Y. Singer,
    Adaptive subgradient methods for online learning and stochastic optimization, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x, step = nc.Variable([5.0, 5.0]), nc.Variable(0)
    >>> optimizer = nc.train.AdagradDAOptimizer(
    ...     0.5,
    ...     step,
    ...     initial_gradient_squared_accumulator_value=3.0,
    ...     l1_regularization_strength=0.5,
    ... )
    >>> result = optimizer.apply_gradients([(np.array([1.0, 0.25]), x)], global_step=step)
    >>> x.value
    array([-0.125, -0.   ])
    """

    _slot_names = ("gradient_accumulator", "gradient_squared_accumulator")

    def __init__(
        self,
        learning_rate: Hyperparameter,
        global_step: Any,
        initial_gradient_squared_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "AdagradDA",
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)
        self._global_step = check_step(global_step)
        self._initial = positive(
            initial_gradient_squared_accumulator_value,
            "initial_gradient_squared_accumulator_value",
        )
        self._l1 = not_negative(l1_regularization_strength, "l1_regularization_strength")
        self._l2 = not_negative(l2_regularization_strength, "l2_regularization_strength")

    def _initial_slot(self, name: str) -> float:
        return self._initial if name == "gradient_squared_accumulator" else 0.0

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _AdagradDA:
        step = float(self._global_step.item()) + 1.0
        return _AdagradDA(now["learning_rate"], self._l1, self._l2, step)
