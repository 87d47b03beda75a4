"""PyTorch: `torch.nn.utils.clip_grad_norm_` and what goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..answers import quick_norm
from ..peers import THREADS, Case
from ..workloads import Array

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
