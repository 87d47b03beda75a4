"""Steps of optimizers, dense and of some rows."""

from __future__ import annotations

import numpy as np

from .common import PEERS, REPEAT, Benchmark
from .workloads import WORKLOADS, gradients


class DenseStep(Benchmark):
    params = (("1k", "mlp", "tiny", "1M", "resnet-50"), ("gradient_descent", "adam"), PEERS)
    param_names = ("workload", "optimizer", "peer")

    def setup(self, workload: str, optimizer: str, peer: str) -> None:
        self.prepare(peer, f"step_{optimizer}", workload)

    def time_apply_gradients(self, workload: str, optimizer: str, peer: str) -> None:
        self.run()


class ClippedStep(Benchmark):
    params = (
        ("mlp", "tiny", "resnet-50", "32M"),
        ("gradient_descent", "momentum", "adagrad", "adam"),
        PEERS,
    )
    param_names = ("workload", "optimizer", "peer")

    def setup(self, workload: str, optimizer: str, peer: str) -> None:
        self.prepare(peer, f"clip_and_{optimizer}", workload)

    def time_apply_gradients(self, workload: str, optimizer: str, peer: str) -> None:
        self.run()


class ClippedRowsStep(Benchmark):
    params = (("gradient_descent", "adagrad"), PEERS)
    param_names = ("optimizer", "peer")

    def setup(self, optimizer: str, peer: str) -> None:
        self.prepare(peer, f"clip_and_{optimizer}_rows", "rows-8k")

    def time_apply_gradients(self, optimizer: str, peer: str) -> None:
        self.run()


class RowsStep(Benchmark):
    params = (("rows-1k", "rows-1M"), PEERS)
    param_names = ("workload", "peer")

    def setup(self, workload: str, peer: str) -> None:
        self.prepare(peer, "step_rows", workload)

    def time_apply_gradients(self, workload: str, peer: str) -> None:
        self.run()


class HistoryStep:
    """A step that is told to a history, beside one that is not."""

    timeout = 300.0
    repeat = REPEAT
    params = (("tiny", "resnet-50"), ("without", "history", "history, no limit"))
    param_names = ("workload", "history")

    def setup(self, workload: str, history: str) -> None:
        import numclip as nc

        grads = gradients(WORKLOADS[workload])
        self.pairs = [(grad, nc.Variable(np.zeros_like(grad))) for grad in grads]
        limit = None if history == "history, no limit" else 1.0
        kept = None if history == "without" else nc.GradientHistory(max_steps=100)
        self.optimizer = nc.train.AdamOptimizer(0.01, global_clipnorm=limit, history=kept)
        # Compiles, and makes the slots.
        self.time_apply_gradients(workload, history)

    def time_apply_gradients(self, workload: str, history: str) -> None:
        self.optimizer.apply_gradients(self.pairs)
