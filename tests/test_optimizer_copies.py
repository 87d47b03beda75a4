"""Optimizers that are copied: by copy, by pickle, and into another process."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optimizers import OPTIMIZERS, Row, for_every_optimizer, normal

import numclip as nc

SHAPES = ((6, 3), (9,), ())
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda held: pickle.loads(pickle.dumps(held)),
}
for_every_copy = pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)


def variables() -> list[nc.Variable]:
    return [nc.Variable(normal(shape), name=f"v{i}") for i, shape in enumerate(SHAPES)]


def train(optimizer: Any, trained: list[nc.Variable], steps: range) -> None:
    for step in steps:
        pairs = [(normal(each.shape, seed=step), each) for each in trained]
        optimizer.apply_gradients(pairs)


def bits(optimizer: Any, trained: list[nc.Variable]) -> list[bytes]:
    return [each.value.tobytes() for each in [*trained, *optimizer.variables()]]


def grouped() -> nc.train.GroupedOptimizer:
    groups = [("v0", OPTIMIZERS["momentum"].make()), (["v1", "v2"], OPTIMIZERS["adam"].make())]
    return nc.train.GroupedOptimizer(groups, global_clipnorm=1.0)


MAKES: dict[str, Callable[[], Any]] = {
    **{name: row.make for name, row in OPTIMIZERS.items()},
    "groups": grouped,
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@for_every_copy
def test_a_copy_goes_on_by_itself_to_the_same_bits(
    make: Callable[[], Any], duplicate: Callable[[Any], Any]
) -> None:
    optimizer, trained = make(), variables()
    train(optimizer, trained, range(2))
    before = bits(optimizer, trained)
    copied = duplicate((optimizer, trained))
    train(*copied, range(2, 4))
    assert bits(optimizer, trained) == before
    train(optimizer, trained, range(2, 4))
    assert bits(optimizer, trained) == bits(*copied) != before


GO_ON = """
import pickle, sys
import numpy as np
path = sys.argv[1]
with open(path, "rb") as file:
    (optimizer, trained), gradients = pickle.load(file)
for step in gradients:
    optimizer.apply_gradients(zip(step, trained))
held = [each.value for each in [*trained, *optimizer.variables()]]
with open(path, "wb") as file:
    pickle.dump(held, file)
"""


@pytest.mark.parametrize("make", [MAKES["momentum"], MAKES["groups"]], ids=["momentum", "groups"])
def test_a_pickle_goes_on_in_another_process(make: Callable[[], Any], tmp_path: Path) -> None:
    optimizer, trained = make(), variables()
    train(optimizer, trained, range(2))
    gradients = [[normal(shape, seed=step) for shape in SHAPES] for step in range(2, 4)]
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps(((optimizer, trained), gradients)))
    subprocess.run([sys.executable, "-c", GO_ON, str(path)], check=True)
    train(optimizer, trained, range(2, 4))
    assert [each.tobytes() for each in pickle.loads(path.read_bytes())] == bits(optimizer, trained)


@for_every_optimizer
def test_a_shallow_copy_shares_slots_even_after_the_original_has_dropped_them(row: Row) -> None:
    optimizer, trained = row.make(), variables()
    unused = optimizer.state_dict()
    train(optimizer, trained, range(2))
    shallow = copy.copy(optimizer)
    train(shallow, trained, range(2, 4))
    optimizer.load_state_dict(unused)
    fresh, expected = (
        row.make(),
        [nc.Variable(each.value.copy(), name=each.name) for each in trained],
    )
    train(shallow, trained, range(2))
    train(fresh, expected, range(2))
    assert bits(shallow, trained) == bits(fresh, expected)
