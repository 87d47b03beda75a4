"""Arrays of the simulated device, and what lies on them."""

from typing import Any

import numpy as np
from arrays import Array
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

import numclip as nc


def on_device(value: Any) -> Any:
    """Return the same with arrays of the device for NumPy's, of the same strides."""
    match value:
        case np.ndarray():
            return FakeCUDAArray(value)
        case nc.IndexedSlices():
            return value._replace(
                values=on_device(value.values), indices=on_device(np.asarray(value.indices))
            )
        case dict():
            return {key: on_device(entry) for key, entry in value.items()}
        case list() | tuple():
            return type(value)([on_device(entry) for entry in value])
        case _:
            return value


def on_host(value: Any) -> Array:
    """Return the numbers of a device, which are in the host's memory in truth."""
    assert type(value) is FakeCUDAArray
    return np.asarray(value._ary)
