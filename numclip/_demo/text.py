"""The text to learn: Python's own documentation, which every CPython carries."""

from collections.abc import Iterable, Iterator
from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Text(NamedTuple):
    """A text as numbers: `codes` are positions in the `alphabet` of its characters."""

    alphabet: str
    codes: NDArray[np.intp]

    def encode(self, text: str) -> list[int]:
        return [self.alphabet.index(character) for character in text]

    def decode(self, codes: Iterable[int]) -> str:
        return "".join(self.alphabet[code] for code in codes)


def documentation() -> Text:
    ascii_text = "\n\n".join(topics.values()).encode("ascii", "ignore")
    characters, codes = np.unique(np.frombuffer(ascii_text, np.uint8), return_inverse=True)
    return Text(characters.tobytes().decode(), codes)


def batches(text: Text, batch: int, length: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield passages from anywhere in the text without end, one to a column."""
    rng = np.random.default_rng(seed)
    rows = np.arange(length)[:, np.newaxis]
    while True:
        yield text.codes[rows + rng.integers(text.codes.size - length + 1, size=batch)]
