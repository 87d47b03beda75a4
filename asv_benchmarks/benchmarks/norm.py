"""The global norm: how fast, and how right."""

from __future__ import annotations

import math

from .answers import exact_norm
from .common import PEERS, Benchmark
from .peers import prepare
from .workloads import WORKLOADS, arrays_of

_LISTS = ("1k", "mlp", "tiny", "1M", "resnet-50", "64M")
_DTYPES = ("float32", "float64", "float16", "bfloat16")


class GlobalNorm(Benchmark):
    params = (_LISTS, PEERS)
    param_names = ("workload", "peer")

    def setup(self, workload: str, peer: str) -> None:
        self.prepare(peer, "global_norm", workload)

    def time_global_norm(self, workload: str, peer: str) -> None:
        self.run()


class GlobalNormDtypes(Benchmark):
    params = (("1M",), _DTYPES, PEERS)
    param_names = ("workload", "dtype", "peer")

    def setup(self, workload: str, dtype: str, peer: str) -> None:
        self.prepare(peer, "global_norm", workload, dtype)

    def time_global_norm(self, workload: str, dtype: str, peer: str) -> None:
        self.run()


class GlobalNormError:
    """The relative error of the norm, against `math.fsum`."""

    timeout = 300.0
    unit = "relative error"
    params = (("1k", "1M", "resnet-50"), _DTYPES, PEERS)
    param_names = ("workload", "dtype", "peer")

    def setup(self, workload: str, dtype: str, peer: str) -> None:
        self.arrays = arrays_of(WORKLOADS[workload], dtype)
        self.case = prepare(peer, "global_norm", self.arrays)

    def track_error(self, workload: str, dtype: str, peer: str) -> float:
        error = abs(self.case.norm(self.case.call(None)) / exact_norm(self.arrays) - 1)
        # NumPy's norm of float16 overflows, and asv publishes nothing once a result is infinite.
        return error if math.isfinite(error) else math.nan
