"""Dtypes by name, bfloat16 among them, which is another package's; and how kernels see them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numclip._kernels.table import BFLOAT16, FLOAT16, FLOAT32, FLOAT64


class Seen(NamedTuple):
    """How kernels see a dtype: as what kind of number, and how many of them make an element."""

    kind: int
    number: Any
    parts: int

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.number.dtype
        return found


SEEN = {
    "float16": Seen(FLOAT16, np.uint16(0), 1),
    "bfloat16": Seen(BFLOAT16, np.int16(0), 1),
    "float32": Seen(FLOAT32, np.float32(0), 1),
    "float64": Seen(FLOAT64, np.float64(0), 1),
    "complex64": Seen(FLOAT32, np.float32(0), 2),
    "complex128": Seen(FLOAT64, np.float64(0), 2),
}
NUMBERS = {seen.kind: seen.number for seen in SEEN.values()}


def dtype_named(name: str | None) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError("bfloat16 needs a package: pip install ml_dtypes") from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
