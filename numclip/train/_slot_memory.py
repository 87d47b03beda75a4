"""Memory for slots that a processor's cache does not take for that of their variable."""

from __future__ import annotations

from typing import Any

import numpy as np

from numclip._array import Array, address_of

_PAGE = 4096
# With up to three slots they and the variable are as far apart in a page as can be.
_STEP = _PAGE // 4
# The C library gives larger arrays pages of their own, all of which NumPy begins at the same place.
_LARGE = 1 << 17


def full_beside(array: Array, value: float, position: int, dtype: np.dtype[Any]) -> Array:
    """Return an array of that shape, as the slot at this position among those of a variable.

    Arrays that begin at the same place of a page share the lines of the first cache, and of some
    that were allocated one after the other AMD's processors take one for the other there: they
    guess by a few bits of an address, two by two (Lipp et al., "Take A Way", 2020). Slots that
    begin a quarter of a page further on each take a step with Adam of 2**25 float32 20.0 ms in
    place of 27.5, of 2**22 1.4 in place of 2.1.
    """
    nbytes = array.size * dtype.itemsize
    if nbytes < _LARGE:
        return np.full(array.shape, value, dtype)
    memory = np.empty(nbytes + _PAGE, np.uint8)
    start = (address_of(array) + (position + 1) * _STEP - address_of(memory)) % _PAGE
    start -= start % 16  # as NumPy's own memory is aligned, whatever the variable's is
    found: Array = memory[start : start + nbytes].view(dtype).reshape(array.shape)
    found.fill(value)
    return found
