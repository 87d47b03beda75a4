"""Clipping by a global norm, in place and not, and by the norms of slices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from .common import PEERS, Benchmark
from .peers import is_installed
from .processes import Process
from .rounds import alternate, ratio
from .sampling import REGIMES

_LISTS = ("1k", "mlp", "tiny", "1M", "resnet-50", "bert-base", "64M")
# TensorFlow and optax return new arrays wherever they are.
_IN_PLACE = {"tensorflow": "clip", "optax": "clip_donated"}


def _in_place(peer: str) -> str:
    return _IN_PLACE.get(peer, "clip_in_place")


class ClipInPlace(Benchmark):
    params = (_LISTS, REGIMES, PEERS)
    param_names = ("workload", "limit", "peer")

    def setup(self, workload: str, regime: str, peer: str) -> None:
        self.prepare(peer, _in_place(peer), workload, regime=regime)

    def time_clip_by_global_norm(self, workload: str, regime: str, peer: str) -> None:
        self.run()


class ClipToNew(Benchmark):
    params = (("1k", "mlp", "tiny", "1M", "resnet-50"), REGIMES, ("numclip", "tensorflow", "optax"))
    param_names = ("workload", "limit", "peer")

    def setup(self, workload: str, regime: str, peer: str) -> None:
        self.prepare(peer, "clip", workload, regime=regime)

    def time_clip_by_global_norm(self, workload: str, regime: str, peer: str) -> None:
        self.run()


class ClipDtypes(Benchmark):
    params = (("1M", "resnet-50"), ("float16", "bfloat16", "float64"), PEERS)
    param_names = ("workload", "dtype", "peer")

    def setup(self, workload: str, dtype: str, peer: str) -> None:
        if peer == "numpy" and dtype != "float64":
            raise NotImplementedError("a dot product of halves is not a norm")
        self.prepare(peer, _in_place(peer), workload, dtype)

    def time_clip_by_global_norm(self, workload: str, dtype: str, peer: str) -> None:
        self.run()


class ClipSlices(Benchmark):
    params = (("rows", "columns"), ("numclip", "numpy", "torch", "tensorflow"))
    param_names = ("slices", "peer")

    def setup(self, slices: str, peer: str) -> None:
        self.prepare(peer, f"clip_{slices}", "matrix")

    def time_clip_by_norm(self, slices: str, peer: str) -> None:
        self.run()


class ClipMemory(Benchmark):
    params = (("1M", "64M"), ("clip_in_place", "clip", "clip_into"))
    param_names = ("workload", "operation")

    def setup(self, workload: str, operation: str) -> None:
        self.prepare("numclip", operation, workload)

    def peakmem_clip_by_global_norm(self, workload: str, operation: str) -> None:
        self.run()


class ClipRatio:
    """The time of a peer, divided by numclip's, each in a process of its own."""

    timeout = 300.0
    unit = "times as long"
    params = (
        ("1k", "tiny", "1M", "resnet-50"),
        REGIMES,
        tuple(peer for peer in PEERS if peer != "numclip"),
    )
    param_names = ("workload", "limit", "peer")

    def setup(self, workload: str, regime: str, peer: str) -> None:
        if not is_installed(peer):
            raise NotImplementedError(f"{peer} is not installed")

    def track_ratio(self, workload: str, regime: str, peer: str) -> float:
        with closing(Process()) as ours, closing(Process()) as theirs:
            samplers = {
                "numclip": _sampler(ours, "numclip", workload, regime),
                peer: _sampler(theirs, peer, workload, regime),
            }
            samples = alternate(samplers, rounds=5)
        return ratio(samples[peer], samples["numclip"]).median


def _sampler(process: Process, peer: str, workload: str, regime: str) -> Callable[[], float]:
    operation = _in_place(peer)
    process.ask("load", workload, "float32", False)
    process.ask("prepare", peer, operation)
    calls = process.ask("calls", peer, operation, regime, 0.05)
    return lambda: float(process.ask("time", peer, operation, regime, calls))
