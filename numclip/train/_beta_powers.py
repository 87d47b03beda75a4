"""Powers of Adam's decays, by which the means are corrected that began at zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_KINDS = (np.float32, np.float64)


class BetaPowers:
    """The products of the betas of all steps so far, in each type that variables are computed in.

    None before the first step, where the betas of that step are the first powers.
    """

    def __init__(self) -> None:
        self._powers: dict[type[Any], tuple[Any, Any]] = {}

    def _now(self, beta1: Any, beta2: Any) -> tuple[Any, Any]:
        return self._powers.get(type(beta1), (beta1, beta2))

    def step_size(self, rate: Any, beta1: Any, beta2: Any) -> Any:
        power1, power2 = self._now(beta1, beta2)
        # To silence warnings takes longer than all the rest.
        if power1 < 1 and power2 < 1:
            return _step_size(rate, power1, power2)
        with np.errstate(all="ignore"):
            return _step_size(rate, power1, power2)

    def advance(self, beta1: float, beta2: float) -> None:
        for kind in _KINDS:
            betas = kind(beta1), kind(beta2)
            power1, power2 = self._now(*betas)
            self._powers[kind] = power1 * betas[0], power2 * betas[1]

    def state(self) -> dict[str, Any]:
        """Return the two powers in each type, both NaN before the first step."""
        unknown = (np.nan, np.nan)
        return {
            f"beta_powers_{kind.__name__}": np.array(self._powers.get(kind, unknown), kind)
            for kind in _KINDS
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._powers = {}
        for kind in _KINDS:
            power1, power2 = np.asarray(state[f"beta_powers_{kind.__name__}"])
            if not (np.isnan(power1) and np.isnan(power2)):
                self._powers[kind] = power1, power2


def _step_size(rate: Any, power1: Any, power2: Any) -> Any:
    one = type(rate)(1)
    return rate * np.sqrt(one - power2) / (one - power1)
