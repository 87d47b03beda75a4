"""What tests of gradients compare with: finite differences, and TensorFlow's golden gradients."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Made by tests/golden/gradients.py with TensorFlow 2.21.0.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "gradients.json").read_text())


def finite_differences(function: Callable[..., Any], arrays: Sequence[Array], of: int) -> Array:
    """Return the gradient of the sum of a function of arrays with respect to one of them."""
    step = 1e-6
    result = np.zeros(arrays[of].shape)
    for index in np.ndindex(result.shape):
        values = []
        for sign in (1, -1):
            moved = [np.array(array) for array in arrays]
            moved[of][index] += sign * step
            values.append(np.sum(np.asarray(function(*moved))))
        result[index] = (values[0] - values[1]) / (2 * step)
    return result
