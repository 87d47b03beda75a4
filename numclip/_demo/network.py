"""A recurrent network that predicts the next character of a text."""

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp
from numpy.typing import DTypeLike, NDArray

import numclip as nc


class Network:
    """A tanh cell on looked-up embeddings, with a softmax over the characters."""

    def __init__(
        self,
        characters: int,
        seed: int = 0,
        embedding: int = 64,
        hidden: int = 128,
        dtype: DTypeLike = np.float32,
    ) -> None:
        rng = np.random.default_rng(seed)

        def variable(name: str, initial: Any) -> nc.Variable:
            return nc.Variable(initial.astype(dtype), name=name)

        def weights(inputs: int, outputs: int) -> Any:
            return rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)

        orthogonal = np.linalg.qr(rng.standard_normal((hidden, hidden))).Q
        self.embedding = variable("embedding", rng.standard_normal((characters, embedding)))
        self.input_weights = variable("input_weights", weights(embedding, hidden))
        self.recurrent_weights = variable("recurrent_weights", orthogonal)
        self.output_weights = variable("output_weights", weights(hidden, characters))
        self.variables = [
            self.embedding,
            self.input_weights,
            self.recurrent_weights,
            self.output_weights,
        ]

    def loss(self, passages: NDArray[np.intp]) -> Any:
        """Return the mean cross-entropy of each character given those above it, in nats."""
        targets = passages[1:].reshape(-1)
        state = self._initial_state(passages.shape[1])
        scores = []
        for codes in passages[:-1]:
            state = self._next_state(codes, state)
            # Step by step, and not in one product that BLAS shares between threads: where other
            # programs use the cores too, that takes many times as long.
            scores.append(state @ self.output_weights)
        all_scores = anp.concatenate(scores)
        of_targets = all_scores[np.arange(targets.size), targets]
        return anp.mean(logsumexp(all_scores, axis=1) - of_targets)

    @np.errstate(all="ignore")  # a network that exploded is to write something too
    def continue_text(self, codes: list[int], length: int, temperature: float, seed: int) -> None:
        """Append characters to a text, each drawn from what the network predicts."""
        rng = np.random.default_rng(seed)
        state = self._initial_state(1)
        for position in range(len(codes) + length - 1):
            state = self._next_state(np.array(codes[position : position + 1]), state)
            if position + 1 == len(codes):
                scores = (state @ self.output_weights)[0] / temperature
                # The largest of scores plus Gumbel noise is a draw from their softmax.
                codes.append(int(np.argmax(scores + rng.gumbel(size=scores.size))))

    def _initial_state(self, batch: int) -> Any:
        # In float64, and what follows from it too: the gradients of a network that exploded vanish
        # into float32's subnormal numbers, with which products take many times as long.
        return np.zeros((batch, len(self.recurrent_weights)))

    def _next_state(self, codes: NDArray[np.intp], state: Any) -> Any:
        embedded = nc.gather(self.embedding, codes)
        return anp.tanh(embedded @ self.input_weights + state @ self.recurrent_weights)
