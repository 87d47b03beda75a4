"""The golden file: how it is written, how it is read, and when two values agree.

The entry `cases` is JSON: for each case the function, its arguments, its output and the agreement.
There an array stands as `{"array": offset, "shape": shape, "dtype": dtype}`, where its bytes begin
in the entry `bytes`. Equal ones are kept once. An entry for each array would double the file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Slices(NamedTuple):
    values: np.ndarray
    indices: np.ndarray
    dense_shape: tuple[int, ...] | None = None


class Archive:
    def __init__(self) -> None:
        self.cases: dict[str, dict[str, Any]] = {}
        self._bytes = bytearray()
        self._offsets: dict[bytes, int] = {}

    @classmethod
    def load(cls, path: Path) -> "Archive":
        archive = cls()
        with np.load(path) as entries:
            archive._bytes += entries["bytes"].tobytes()
            archive.cases = json.loads(str(entries["cases"]))
        return archive

    def save(self, path: Path) -> None:
        held = np.frombuffer(self._bytes, np.uint8)
        np.savez_compressed(path, cases=np.array(json.dumps(self.cases)), bytes=held)

    def add(
        self,
        name: str,
        function: str,
        arguments: dict[str, Any],
        output: Any,
        ulps: float,
        of_largest: bool = False,
    ) -> None:
        self.cases[name] = {
            "function": function,
            "arguments": self._encode(arguments),
            "output": self._encode(output),
            "ulps": ulps,
            "of_largest": of_largest,
        }

    def agreement(self, name: str) -> tuple[float, bool]:
        return self.cases[name]["ulps"], self.cases[name]["of_largest"]

    def arguments(self, name: str) -> dict[str, Any]:
        return self._decode(self.cases[name]["arguments"])

    def output(self, name: str) -> Any:
        return self._decode(self.cases[name]["output"])

    def _encode(self, value: Any) -> Any:
        match value:
            case Slices():
                return {key: self._encode(x) for key, x in value._asdict().items()}
            case np.ndarray():
                offset = self._store(value.tobytes())
                return {"array": offset, "shape": value.shape, "dtype": value.dtype.name}
            case np.generic():
                return {"scalar": float(value), "dtype": value.dtype.name}
            case list():
                return [self._encode(x) for x in value]
            case dict():
                return {key: self._encode(x) for key, x in value.items()}
            case _:
                return value

    def _store(self, content: bytes) -> int:
        offset = self._offsets.setdefault(content, len(self._bytes))
        if offset == len(self._bytes):
            self._bytes += content
        return offset

    def _decode(self, node: Any) -> Any:
        match node:
            case {"array": offset, "shape": shape, "dtype": dtype}:
                return np.ndarray(shape, dtype, self._bytes, offset).copy()
            case {"scalar": value, "dtype": dtype}:
                return np.dtype(dtype).type(value)
            case {"values": values, "indices": indices, "dense_shape": dense_shape}:
                shape = None if dense_shape is None else tuple(dense_shape)
                return Slices(self._decode(values), self._decode(indices), shape)
            case list():
                return [self._decode(x) for x in node]
            case dict():
                return {key: self._decode(x) for key, x in node.items()}
            case _:
                return node


def gradient_at(gradient: Any, step: int) -> Any:
    """Return one step of a gradient whose arrays have the steps along the first axis."""
    if isinstance(gradient, Slices):
        return gradient._replace(values=gradient.values[step], indices=gradient.indices[step])
    return gradient[step]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays, numbers and Nones of a nested value, each with its path."""
    match value:
        case Slices():
            yield from leaves(value._asdict(), path)
        case dict():
            for key, part in value.items():
                yield from leaves(part, f"{path}/{key}")
        case list():
            for i, part in enumerate(value):
                yield from leaves(part, f"{path}/{i}")
        case _:
            yield path, value


def agrees(actual: Any, expected: Any, ulps: float = 0, of_largest: bool = False) -> bool:
    """Whether two values have one dtype and shape and are at most `ulps` apart.

    The unit is the spacing of floats at each expected element, or at the largest one of the array.
    """
    if expected is None:
        return actual is None
    actual, expected = np.asarray(actual), np.asarray(expected)
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return False
    same = (actual == expected) | ((actual != actual) & (expected != expected))
    if not ulps:
        return bool(np.all(same))
    with np.errstate(invalid="ignore"):
        scale = np.max(np.abs(expected), initial=0) if of_largest else np.abs(expected)
        error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
        close = error <= ulps * np.spacing(scale).astype(np.float64)
    return bool(np.all(close | same))
