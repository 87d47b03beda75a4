"""The norm of many tensors."""

from __future__ import annotations

from typing import Any

from numclip import _array
from numclip._tensors import tensors_to_read


def global_norm(t_list: Any, name: str | None = None) -> Any:
    r"""Return the norm of all tensors taken together.

    .. math:: \sqrt{\sum_i \lVert t_i \rVert_2^2}

    Parameters
    ----------
    t_list : list, tuple or dict of arrays, IndexedSlices or None
        float16, bfloat16, float32, float64, complex64 or complex128, also mixed, of any shapes;
        all on the host, or all on one CUDA device.
        None entries are skipped. Duplicate rows of IndexedSlices count separately;
        `IndexedSlices.coalesce` first gives the norm of what they stand for.
    name : str, optional
        Opens the message of an error.

    Returns
    -------
    numpy.float64
        The norm, to a relative error below 1e-14 at any size, also where squares overflow or
        underflow. The same bits for the same numbers on any processor and at any alignment. Zero
        for an empty list, NaN where an entry is NaN, infinite where one is infinite. Of arrays on
        a CUDA device it is an array without dimensions there, and nothing waits for it.

    Raises
    ------
    TypeError
        If `t_list` is not a list, tuple or dict, or an entry is not an array of these dtypes.
    ValueError
        If the arrays are not all in one place.

    Notes
    -----
    In a loss it is differentiated; at zero the gradient is NaN.

    References
    ----------
    ``tf.linalg.global_norm`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> nc.global_norm([np.array([3.0]), None, np.array([[4.0], [12.0]])])
    np.float64(13.0)
    """
    if name is not None:
        with _array.named(name):
            return global_norm(t_list)
    try:
        return tensors_to_read(t_list).norm().value
    except _array.RecordedError:
        from numclip import _clip_gradient

        return _clip_gradient.global_norm(global_norm, t_list)
