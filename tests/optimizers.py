"""Every optimizer, for the tests that all of them have to pass."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numclip import train

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "gradient descent": lambda **options: train.GradientDescentOptimizer(0.1, **options),
    "momentum": lambda **options: train.MomentumOptimizer(0.1, 0.9, **options),
    "Nesterov": lambda **options: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True, **options),
    "Adagrad": lambda **options: train.AdagradOptimizer(0.1, **options),
    "Adadelta": lambda **options: train.AdadeltaOptimizer(1.0, epsilon=1e-4, **options),
    "Adam": lambda **options: train.AdamOptimizer(0.1, epsilon=1e-4, **options),
    "AdamW": lambda **options: train.AdamWOptimizer(0.1, epsilon=1e-4, **options),
    "RMSProp": lambda **options: train.RMSPropOptimizer(0.1, momentum=0.5, **options),
    "centered RMSProp": lambda **options: train.RMSPropOptimizer(0.1, centered=True, **options),
    "FTRL": lambda **options: train.FtrlOptimizer(0.1, **options),
    "FTRL of a power": lambda **options: train.FtrlOptimizer(
        0.1, -0.3, l1_regularization_strength=0.01, **options
    ),
    "proximal gradient descent": lambda **options: train.ProximalGradientDescentOptimizer(
        0.1, 0.01, 0.02, **options
    ),
    "proximal Adagrad": lambda **options: train.ProximalAdagradOptimizer(
        0.1, 0.1, 0.01, 0.02, **options
    ),
    "Adagrad with dual averaging": lambda **options: train.AdagradDAOptimizer(
        0.1, np.array(2), 0.1, 0.01, 0.02, **options
    ),
}
