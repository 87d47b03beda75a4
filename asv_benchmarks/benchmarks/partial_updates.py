"""Steps of a part of the variables: those that are frozen cost nothing, and groups cost little."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from .common import REPEAT, set_environment
from .workloads import WORKLOADS, gradients

set_environment()


class _Steps:
    timeout = 300.0
    repeat = REPEAT

    def prepare(self, variables: list[Any], optimizer: Any, grads: list[Any]) -> None:
        self.optimizer = optimizer
        self.pairs = list(zip(grads, variables, strict=True))
        # Compiles, and makes the slots.
        self.step()

    def step(self) -> None:
        self.optimizer.apply_gradients(self.pairs)


class FrozenStep(_Steps):
    """Of ResNet-50, whose first variables are frozen, up to a share of its numbers."""

    params = ((0, 50, 90), ("gradient_descent", "adam"))
    param_names = ("percent frozen", "optimizer")

    def setup(self, percent: int, optimizer: str) -> None:
        import numclip as nc

        workload = WORKLOADS["resnet-50"]
        grads = gradients(workload)
        until = accumulate(grad.size for grad in grads)
        variables = [
            nc.Variable(np.zeros_like(grad), trainable=end > workload.size * percent / 100)
            for grad, end in zip(grads, until, strict=True)
        ]
        make = {
            "gradient_descent": nc.train.GradientDescentOptimizer,
            "adam": nc.train.AdamOptimizer,
        }[optimizer]
        self.prepare(variables, make(0.01, global_clipnorm=1.0), grads)

    def time_apply_gradients(self, percent: int, optimizer: str) -> None:
        self.step()


class GroupedStep(_Steps):
    """Of 1,000 small variables in two groups, beside one optimizer of all."""

    params = (("two groups", "two groups, limited together", "one optimizer"),)
    param_names = ("optimizer",)

    def setup(self, optimizer: str) -> None:
        import numclip as nc

        grads = gradients(WORKLOADS["tiny"])
        scopes = ("backbone", "head")
        variables = [
            nc.Variable(np.zeros_like(grad), name=f"{scopes[2 * i // len(grads)]}/{i}")
            for i, grad in enumerate(grads)
        ]
        adam = nc.train.AdamOptimizer
        if optimizer == "one optimizer":
            made: Any = adam(0.01, global_clipnorm=1.0)
        elif optimizer == "two groups":
            made = nc.train.GroupedOptimizer(
                [(scope, adam(0.01, global_clipnorm=1.0)) for scope in scopes]
            )
        else:
            made = nc.train.GroupedOptimizer(
                [(scope, adam(0.01)) for scope in scopes], global_clipnorm=1.0
            )
        self.prepare(variables, made, grads)

    def time_apply_gradients(self, optimizer: str) -> None:
        self.step()
