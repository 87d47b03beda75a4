"""Dtypes by name, bfloat16 among them, which is another package's."""

from __future__ import annotations

from typing import Any

import numpy as np


def dtype_named(name: str | None) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("bfloat16 needs a package: pip install ml_dtypes") from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
