"""optax: its functions under `jax.jit`, which return new arrays, or reuse those they are given."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from ..peers import Case
from ..workloads import Array


def _clip(gradients: list[jax.Array], limit: float) -> Any:
    return optax.clip_by_global_norm(limit).update(gradients, optax.EmptyState())[0]


_clip_to_new = jax.jit(_clip)
_clip_donated = jax.jit(_clip, donate_argnums=0)
_global_norm = jax.jit(optax.global_norm)


def _on_jax(arrays: list[Array]) -> list[jax.Array]:
    # Without it float64 becomes float32.
    jax.config.update("jax_enable_x64", any(array.dtype == "float64" for array in arrays))
    return [jax.numpy.array(array) for array in arrays]


def clip(arrays: list[Array]) -> Case:
    gradients = _on_jax(arrays)
    return Case(
        lambda limit: jax.block_until_ready(_clip_to_new(gradients, limit)),
        lambda result: float(_global_norm(gradients)),
    )


def clip_donated(arrays: list[Array]) -> Case:
    """Give the arrays away at each call, and go on with those that come back in their place."""
    gradients = _on_jax(arrays)

    def call(limit: float) -> None:
        nonlocal gradients
        gradients = jax.block_until_ready(_clip_donated(gradients, limit))

    def restore() -> None:
        nonlocal gradients
        gradients = _on_jax(arrays)

    return Case(
        call,
        lambda result: float(_global_norm(_on_jax(arrays))),
        restore=restore,
        shrinks=True,
    )


def global_norm(arrays: list[Array]) -> Case:
    gradients = _on_jax(arrays)
    return Case(lambda limit: jax.block_until_ready(_global_norm(gradients)), float)


def _clipped_step(optimizer: optax.GradientTransformation, arrays: list[Array]) -> Case:
    """Clip and step in one jitted function, which reuses the memory of variables and slots."""
    gradients = _on_jax(arrays)
    variables = [jax.numpy.ones_like(gradient) for gradient in gradients]
    states = (optax.EmptyState(), optimizer.init(variables))

    def update(variables: Any, states: Any, gradients: Any, limit: Any) -> Any:
        chain = optax.chain(optax.clip_by_global_norm(limit), optimizer)
        updates, states = chain.update(gradients, states, variables)
        return optax.apply_updates(variables, updates), states

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def call(limit: float) -> None:
        nonlocal variables, states
        variables, states = jax.block_until_ready(compiled(variables, states, gradients, limit))

    return Case(call, lambda result: float(_global_norm(gradients)))


def clip_and_gradient_descent(arrays: list[Array]) -> Case:
    return _clipped_step(optax.sgd(1e-3), arrays)


def clip_and_momentum(arrays: list[Array]) -> Case:
    return _clipped_step(optax.sgd(1e-3, momentum=0.9), arrays)


def clip_and_adagrad(arrays: list[Array]) -> Case:
    return _clipped_step(optax.adagrad(1e-3), arrays)


def clip_and_adam(arrays: list[Array]) -> Case:
    return _clipped_step(optax.adam(1e-3), arrays)


def _step(optimizer: optax.GradientTransformation, arrays: list[Array]) -> Case:
    gradients = _on_jax(arrays)
    variables = [jax.numpy.ones_like(gradient) for gradient in gradients]
    state = optimizer.init(variables)

    def update(variables: Any, state: Any, gradients: Any) -> Any:
        updates, state = optimizer.update(gradients, state, variables)
        return optax.apply_updates(variables, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def call(limit: float) -> None:
        nonlocal variables, state
        variables, state = jax.block_until_ready(compiled(variables, state, gradients))

    return Case(call, lambda result: math.nan)


def step_gradient_descent(arrays: list[Array]) -> Case:
    return _step(optax.sgd(1e-3), arrays)


def step_adam(arrays: list[Array]) -> Case:
    return _step(optax.adam(1e-3), arrays)
