"""FTRL-Proximal: follow the regularized leader."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from numclip._compile import rule
from numclip._kernels.rules import rule_of
from numclip.train._checks import not_negative, not_positive
from numclip.train._clipping import ClippingOptions
from numclip.train._hyperparameter import Hyperparameter
from numclip.train._optimizer import Optimizer
from numclip.train._proximal import shrunk

# TensorFlow's: what a rate of zero is taken for.
_SMALLEST_RATE = 1e-36


class _Ftrl(NamedTuple):
    learning_rate: float
    power: float
    l1: float
    l2: float
    l2_shrinkage: float


class _FtrlRoot(NamedTuple):
    """With the power 1/2, which is most often asked for and far sooner computed."""

    learning_rate: float
    power: float
    l1: float
    l2: float
    l2_shrinkage: float


@rule
def _follow(
    hyperparameters: Any, number: Any, gradient: Any, linear: Any, raised: Any, new_raised: Any
) -> Any:
    """Return the new number and sum, from the squares' sums raised to the power."""
    kind = type(number)
    rate, two = kind(hyperparameters.learning_rate), kind(2)
    shrinking = gradient + two * kind(hyperparameters.l2_shrinkage) * number
    linear += shrinking - (new_raised - raised) / rate * number
    curvature = new_raised / rate + two * kind(hyperparameters.l2)
    # 0 / 0 is 0, as in TensorFlow: without any gradient yet there may be no curvature.
    rest = -shrunk(linear, kind(hyperparameters.l1))
    return rest / (curvature if rest != 0 else kind(1)), linear


@rule_of(_Ftrl, slots=2)
def _ftrl(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    squares, linear = slots
    new_squares = squares + gradient * gradient
    power = type(number)(hyperparameters.power)
    raised, new_raised = squares**power, new_squares**power
    new, linear = _follow(hyperparameters, number, gradient, linear, raised, new_raised)
    return new, (new_squares, linear)


@rule_of(_FtrlRoot, slots=2)
def _ftrl_root(hyperparameters: Any, number: Any, gradient: Any, slots: Any) -> Any:
    squares, linear = slots
    new_squares = squares + gradient * gradient
    kind = type(number)
    raised, new_raised = kind(math.sqrt(squares)), kind(math.sqrt(new_squares))
    new, linear = _follow(hyperparameters, number, gradient, linear, raised, new_raised)
    return new, (new_squares, linear)


class FtrlOptimizer(Optimizer):
    r"""Follow the leader of all gradients so far, under penalties that make most numbers zero.

    .. math::

        a' &= a + g^2 \\
        z &\leftarrow z + g + 2 s x - \frac{a'^p - a^p}{\eta} x \\
        x &\leftarrow -\frac{\operatorname{sign}(z) \max(|z| - l_1, 0)}
            {a'^p / \eta + 2 l_2 + \beta / \eta} \\
        a &\leftarrow a'

    where :math:`-p` is the learning rate's power.

    Parameters
    ----------
    learning_rate : float or callable
        The rate :math:`\eta`.
    learning_rate_power : float
        :math:`-p`, zero or less; at zero the rate does not fall.
    initial_accumulator_value : float
        What the sums of squares begin with, zero or more.
    l1_regularization_strength : float
        The penalty :math:`l_1`, zero or more.
    l2_regularization_strength : float
        The penalty :math:`l_2`, zero or more: it holds each step back.
    use_locking : bool
        Without effect.
    name : str
        The optimizer's name.
    accum_name, linear_name : str, optional
        Without effect.
    l2_shrinkage_regularization_strength : float
        The penalty :math:`s`, zero or more: it holds the numbers themselves down.
    beta : float, optional
        The paper's :math:`\beta`, zero or more.
    **clipping
        ``clipvalue``, ``clipnorm``, ``global_clipnorm``, ``nonfinite`` and ``history``, as of
        `Optimizer`.

    Raises
    ------
    ValueError
        If `learning_rate_power` is positive, or another number but the rate negative.

    Notes
    -----
    Slots are "accum", which begins with `initial_accumulator_value`, and "linear", zeros. What a
    variable holds at first is not in them: a first gradient of zero makes its element zero. Of
    IndexedSlices, duplicates summed, only the rows that occur are updated, and only they shrink. A
    gradient that is NaN or infinite makes its own elements NaN. With a `learning_rate_power` other
    than -0.5 the last bits are those of the platform's power function; all else has the same bits
    everywhere.

    References
    ----------
    ``tf.compat.v1.train.FtrlOptimizer`` of TensorFlow. H. B. McMahan et al., Ad click prediction: a
    view from the trenches, KDD 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> x = nc.Variable([0.0, 0.0])
    >>> optimizer = nc.train.FtrlOptimizer(
    ...     0.5, initial_accumulator_value=0.0, l1_regularization_strength=1.0
    ... )
    >>> result = optimizer.apply_gradients([(np.array([4.0, 0.5]), x)])
    >>> x.value
    array([-0.375, -0.   ])
    """

    _slot_names = ("accum", "linear")

    def __init__(
        self,
        learning_rate: Hyperparameter,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float | None = None,
        **clipping: Unpack[ClippingOptions],
    ) -> None:
        super().__init__(name, {"learning_rate": learning_rate}, **clipping)
        self._power = -not_positive(learning_rate_power, "learning_rate_power")
        self._initial = not_negative(initial_accumulator_value, "initial_accumulator_value")
        self._l1 = not_negative(l1_regularization_strength, "l1_regularization_strength")
        self._l2 = not_negative(l2_regularization_strength, "l2_regularization_strength")
        self._l2_shrinkage = not_negative(
            l2_shrinkage_regularization_strength, "l2_shrinkage_regularization_strength"
        )
        self._beta = 0.0 if beta is None else not_negative(beta, "beta")

    def _initial_slot(self, name: str) -> float:
        return self._initial if name == "accum" else 0.0

    def _rule(self, kind: type[Any], now: Mapping[str, float]) -> _Ftrl | _FtrlRoot:
        rate = now["learning_rate"]
        rule_of_power = _FtrlRoot if self._power == 0.5 else _Ftrl
        l2 = self._l2 + self._beta / (2.0 * max(rate, _SMALLEST_RATE))
        return rule_of_power(rate, self._power, self._l1, l2, self._l2_shrinkage)
