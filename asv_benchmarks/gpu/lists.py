"""The lists of gradients that are clipped, and how."""

from __future__ import annotations

from collections.abc import Sequence

from ..benchmarks.workloads import WORKLOADS, Workload

OVER, UNDER, STEP = "over the limit", "under the limit", "clip and Adam"
CASES = (OVER, UNDER, STEP)

LISTS = (
    *(WORKLOADS[name] for name in ("mlp", "tiny", "resnet-50", "bert-base", "64M")),
    Workload("1G", "one 1G, 4 GiB", ((1 << 30,),)),
)


def lists(is_quick: bool) -> Sequence[Workload]:
    return [workload.capped() if is_quick else workload for workload in LISTS]


def limit_for(case: str, norm: float) -> float:
    return 2 * norm if case == UNDER else norm / 2
