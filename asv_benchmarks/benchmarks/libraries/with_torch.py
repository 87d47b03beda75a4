"""PyTorch: `torch.nn.utils.clip_grad_norm_` and what goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..answers import quick_norm
from ..peers import THREADS, Case
from ..workloads import Array, table_rows_of

torch.set_num_threads(THREADS)


def _view(array: Array) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _tensor(array: Array) -> torch.Tensor:
    return _view(array).clone()


def _parameters(tensors: Sequence[torch.Tensor]) -> list[torch.nn.Parameter]:
    parameters = [torch.nn.Parameter(torch.empty_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor
    return parameters


def clip_in_place(arrays: list[Array]) -> Case:
    tensors = [_tensor(array) for array in arrays]
    parameters = _parameters(tensors)

    def restore() -> None:
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.copy_(_view(array))

    return Case(
        lambda limit: torch.nn.utils.clip_grad_norm_(parameters, limit),
        float,
        restore=restore,
        shrinks=True,
    )


def global_norm(arrays: list[Array]) -> Case:
    tensors = [_tensor(array) for array in arrays]
    return Case(lambda limit: torch.nn.utils.get_total_norm(tensors), float)


def _clip_slices(arrays: list[Array], kept: int) -> Case:
    matrix = _tensor(arrays[0])
    slices = matrix.shape[kept]
    return Case(
        lambda limit: torch.renorm(matrix, 2, kept, limit),
        lambda result: quick_norm([result.numpy()]),
        as_limit=lambda limit: limit / math.sqrt(slices),
    )


def clip_rows(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 0)


def clip_columns(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 1)


def _sparse(arrays: list[Array]) -> torch.Tensor:
    values, indices = (_tensor(array) for array in arrays)
    return torch.sparse_coo_tensor(
        indices[None], values, tuple(values.shape), check_invariants=False
    )


def coalesce(arrays: list[Array]) -> Case:
    gradient = _sparse(arrays)
    return Case(
        lambda limit: gradient.coalesce(), lambda result: quick_norm([result.values().numpy()])
    )


def _clipped_step(optimizer: Callable[..., Any], arrays: list[Array], **options: Any) -> Case:
    """Clip, which changes the gradients, then step: what PyTorch's users write."""
    tensors = [_tensor(array) for array in arrays]
    parameters = [torch.nn.Parameter(torch.ones_like(tensor)) for tensor in tensors]
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = tensor
    made = optimizer(parameters, lr=1e-3, **options)

    def call(limit: float) -> torch.Tensor:
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
        made.step()
        return norm

    def restore() -> None:
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.copy_(_view(array))

    return Case(call, float, restore=restore, shrinks=True)


def clip_and_gradient_descent(arrays: list[Array]) -> Case:
    return _clipped_step(torch.optim.SGD, arrays, foreach=True)


def clip_and_momentum(arrays: list[Array]) -> Case:
    return _clipped_step(torch.optim.SGD, arrays, momentum=0.9, fused=True)


def clip_and_adagrad(arrays: list[Array]) -> Case:
    return _clipped_step(torch.optim.Adagrad, arrays, fused=True)


def clip_and_adam(arrays: list[Array]) -> Case:
    return _clipped_step(torch.optim.Adam, arrays, fused=True)


def _clipped_rows_step(optimizer: Callable[..., Any], arrays: list[Array]) -> Case:
    """Sum duplicates, clip the sums and step: `clip_grad_norm_` takes no sparse gradients."""
    values, indices = (_tensor(array) for array in arrays)
    shape = (table_rows_of(arrays), *values.shape[1:])
    parameter = torch.nn.Parameter(torch.ones(shape))
    made = optimizer([parameter], lr=1e-3)

    def call(limit: float) -> torch.Tensor:
        gradient = torch.sparse_coo_tensor(indices[None], values, shape, check_invariants=False)
        gradient = gradient.coalesce()
        norm = torch.linalg.vector_norm(gradient.values())
        gradient.values().mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
        parameter.grad = gradient
        made.step()
        return norm

    return Case(call, float)


def clip_and_gradient_descent_rows(arrays: list[Array]) -> Case:
    return _clipped_rows_step(torch.optim.SGD, arrays)


def clip_and_adagrad_rows(arrays: list[Array]) -> Case:
    return _clipped_rows_step(torch.optim.Adagrad, arrays)


def _step(optimizer: Callable[..., Any], gradients: Sequence[torch.Tensor]) -> Case:
    parameters = [torch.nn.Parameter(torch.ones(gradient.shape)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    made = optimizer(parameters, lr=1e-3)
    return Case(lambda limit: made.step(), lambda result: math.nan)


def step_gradient_descent(arrays: list[Array]) -> Case:
    return _step(torch.optim.SGD, [_tensor(array) for array in arrays])


def step_adam(arrays: list[Array]) -> Case:
    return _step(torch.optim.Adam, [_tensor(array) for array in arrays])


def step_rows(arrays: list[Array]) -> Case:
    return _step(torch.optim.SGD, [_sparse(arrays)])
