"""What a step has to tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, repr=False)
class StepResult:
    """What `Optimizer.apply_gradients` returns.

    Parameters
    ----------
    global_norm : numpy.float64 or None
        The norm of all gradients before they were clipped, duplicate rows of IndexedSlices
        summed; None where the optimizer did not need it. Of variables on a CUDA device it is an
        array without dimensions there.
    limit : float or None
        The limit of that norm; None without ``global_clipnorm``.
    skipped : bool
        Whether nothing was updated, as gradients were not finite.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> optimizer = nc.train.GradientDescentOptimizer(0.1, global_clipnorm=1.0)
    >>> result = optimizer.apply_gradients([(np.array([3.0, 4.0]), nc.Variable([0.0, 0.0]))])
    >>> result
    StepResult(global_norm=5.0, scale=0.2, skipped=False)
    """

    global_norm: Any = None
    limit: float | None = None
    skipped: bool = False

    @property
    def scale(self) -> float:
        """What gradients were multiplied by, before it was rounded down; 1 without a global limit.

        NaN where the norm is NaN or infinite. A norm on a CUDA device is waited for.
        """
        if self.limit is None:
            return 1.0
        norm = float(self.global_norm)
        if not math.isfinite(norm):
            return math.nan
        return self.limit / norm if norm > self.limit else 1.0

    def __repr__(self) -> str:
        norm = None if self.global_norm is None else float(self.global_norm)
        return f"StepResult(global_norm={norm}, scale={self.scale}, skipped={self.skipped})"
