"""Slots of large variables begin elsewhere in a page than they, and are what NumPy would make."""

from typing import Any

import numpy as np
import pytest
from arrays import DTYPES, dtype_named

import numclip as nc
from numclip.train._slot_memory import full_beside

PAGE = 4096


def place_in_page(array: Any) -> int:
    return int(array.__array_interface__["data"][0]) % PAGE


def backwards(dtype: Any) -> Any:
    return np.ones((300, 500), dtype)[::-1, ::-1]


def transposed(dtype: Any) -> Any:
    return np.ones((300, 500), dtype).T


def of_a_struct(dtype: Any) -> Any:
    """Return numbers that are not aligned to their size."""
    return np.ones(200_000, [("first", np.uint8), ("second", dtype)])["second"]


LAYOUTS = {
    "in C order": lambda dtype: np.ones((300, 500), dtype),
    "backwards": backwards,
    "transposed": transposed,
    "of a struct": of_a_struct,
    "small": lambda dtype: np.ones(7, dtype),
    "empty": lambda dtype: np.ones((0, 7), dtype),
    "of no dimension": lambda dtype: np.ones((), dtype),
}


@pytest.mark.parametrize("dtype", [each for each in map(dtype_named, DTYPES) if each.kind != "c"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_is_made(layout: str, dtype: Any, position: int) -> None:
    like = LAYOUTS[layout](dtype)
    made = full_beside(like, 0.25, position, dtype)
    expected = np.full(like.shape, 0.25, dtype)
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    assert made.tobytes() == expected.tobytes()
    assert made.flags.carray
    assert not np.may_share_memory(made, like)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 4, 1000])
def test_slots_begin_a_quarter_of_a_page_apart(dtype: Any, offset: int) -> None:
    held = np.ones(200_000, dtype)[offset:]
    variable = nc.Variable(held)
    optimizer = nc.train.RMSPropOptimizer(0.1, momentum=0.5, centered=True)
    optimizer.apply_gradients([(np.ones_like(held), variable)])
    slots = [optimizer.get_slot(variable, name) for name in ("rms", "mg", "momentum")]
    places = sorted(
        (place_in_page(each.array) - place_in_page(held)) % PAGE for each in (variable, *slots)
    )
    # To 16 bytes, as the memory of NumPy is aligned.
    assert places[0] == 0
    assert np.abs(np.diff([*places, PAGE]) - PAGE // 4).max() < 32
