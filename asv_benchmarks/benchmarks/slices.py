"""Sparse gradients: rows that share an index are summed."""

from __future__ import annotations

from .common import PEERS, Benchmark


class Coalesce(Benchmark):
    params = (("rows-1k", "rows-1M"), (*PEERS, "scipy"))
    param_names = ("workload", "peer")

    def setup(self, workload: str, peer: str) -> None:
        self.prepare(peer, "coalesce", workload)

    def time_coalesce(self, workload: str, peer: str) -> None:
        self.run()

    def peakmem_coalesce(self, workload: str, peer: str) -> None:
        self.run()
