# ruff: noqa: B905, F841
"""Programs as they stand in scripts written for TensorFlow 1, with `nc.` for `tf.`.

Their text is kept as it is, so ruff's wishes for `zip` and for names that are not read are off.
"""

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np

import numclip as nc

Pairs = list[tuple[Any, nc.Variable]]


class LanguageModel:
    """Predict the next of six words from embeddings of the last two, in a sequence that repeats."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        words = np.tile([0, 1, 2, 3, 4, 5, 3, 1], 8)
        self.inputs, self.targets = np.stack([words[:-2], words[1:-1]], axis=1), words[2:]
        self.embedding = nc.Variable(random.standard_normal((6, 4)), name="embedding")
        self.weights = nc.Variable(random.standard_normal((8, 6)), name="weights")
        self.bias = nc.Variable(np.zeros(6, np.float32), name="bias")

    def loss(self) -> Any:
        rows = nc.gather(self.embedding, self.inputs)
        scores = anp.tanh(anp.reshape(rows, (-1, 8))) @ self.weights + self.bias
        largest = anp.max(scores, axis=1, keepdims=True)
        sums = anp.log(anp.sum(anp.exp(scores - largest), axis=1)) + largest[:, 0]
        chosen = scores[np.arange(len(self.targets)), self.targets]
        return 20 * anp.mean(sums - chosen)


def clip_by_global_norm_and_step(
    loss: Callable[[], Any], learning_rate: float, grad_clip: float, global_step: nc.Variable
) -> tuple[Any, Any]:
    optimizer = nc.train.AdamOptimizer(learning_rate)
    gradients, v = zip(*optimizer.compute_gradients(loss))
    gradients, _ = nc.clip_by_global_norm(gradients, grad_clip)
    updates = optimizer.apply_gradients(zip(gradients, v), global_step=global_step)
    return gradients, v


def test_a_language_model_with_one_norm_for_all_gradients() -> None:
    model, global_step = LanguageModel(), nc.Variable(0, trainable=False, name="global_step")
    first_loss, before = model.loss(), nc.gradients(model.loss, [model.weights])[0]
    assert nc.global_norm([before]) > 1.0
    for _ in range(60):
        gradients, variables = clip_by_global_norm_and_step(model.loss, 0.05, 1.0, global_step)
        assert set(variables) == {model.embedding, model.weights, model.bias}
        assert nc.global_norm(gradients) <= 1.0
        kinds = {v.name: type(g) for g, v in zip(gradients, variables, strict=True)}
        assert kinds["embedding"] is nc.IndexedSlices
    assert global_step.value == 60
    assert model.loss() < 0.2 * first_loss


class Generator:
    """Fit a curve through two layers, with a weight that the cost reads and does not use."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.points = np.linspace(-2, 2, 40)[:, None]
        self.first = nc.Variable(random.standard_normal((1, 16)), name="first")
        self.second = nc.Variable(random.standard_normal((16, 1)), name="second")
        self.unused = nc.Variable(np.ones(3), name="unused")
        self.scale = nc.Variable(100.0, trainable=False, name="scale")

    def cost(self) -> Any:
        assert self.unused.value is not None
        curve = anp.tanh(self.points @ self.first) @ self.second
        return self.scale * anp.mean((curve - np.sin(3 * self.points)) ** 2)


def clip_by_norm_and_step(cost: Callable[[], Any], learning_rate: float) -> Pairs:
    optimizer = nc.train.AdamOptimizer(learning_rate, beta1=0.5)
    grads = optimizer.compute_gradients(cost)
    for i, (g, v) in enumerate(grads):
        if g is not None:
            grads[i] = (nc.clip_by_norm(g, 5), v)  # clip gradients
    train_op = optimizer.apply_gradients(grads)
    return grads


def test_a_generator_with_one_norm_for_each_gradient() -> None:
    model = Generator()
    first_cost = model.cost()
    unclipped = nc.gradients(model.cost, [model.first, model.second])
    assert max(nc.global_norm([gradient]) for gradient in unclipped) > 5
    at_the_limit = 0
    for _ in range(200):
        grads = clip_by_norm_and_step(model.cost, 0.01)
        found = {variable: gradient for gradient, variable in grads}
        assert set(found) == {model.unused, model.first, model.second}
        assert found[model.unused] is None
        norms = [nc.global_norm([found[each]]) for each in (model.first, model.second)]
        assert max(norms) <= 5
        at_the_limit += max(norms) > 4.999
    assert at_the_limit > 0
    assert model.unused.value.tolist() == [1.0, 1.0, 1.0]
    assert model.cost() < 0.5 * first_cost
