"""Steps of optimizers, dense and of some rows."""

from __future__ import annotations

from .common import PEERS, Benchmark


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
