"""numclip and PyTorch at the same gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

import numclip as nc

from ..benchmarks.workloads import Workload
from .lists import STEP, limit_for
from .records import Comparison, Contender
from .timing import Case, alternate, exact_norm, launches, relative_error


class _Targets(NamedTuple):
    device: float | None = None
    aim: float | None = None
    host: float | None = None


_TARGETS = {
    "tiny": _Targets(device=1.0, host=1.0),
    "resnet-50": _Targets(device=1.0, aim=1.3),
    "bert-base": _Targets(device=1.0, aim=1.3),
}


def _refilled(gradients: Sequence[Any], originals: Sequence[Any]) -> Any:
    return lambda: torch._foreach_copy_(gradients, originals)


def _numclip(originals: Sequence[Any], limit: float, case: str) -> Case:
    gradients = [gradient.clone() for gradient in originals]
    refill = _refilled(gradients, originals)

    def clip() -> Any:
        return nc.clip_by_global_norm(gradients, limit, out=gradients)[1]

    if case != STEP:
        return Case(clip, refill)
    variables = [nc.Variable(gradient.clone()) for gradient in originals]
    optimizer = nc.train.AdamOptimizer(1e-3, global_clipnorm=limit)
    return Case(
        lambda: optimizer.apply_gradients(zip(gradients, variables, strict=True)).global_norm,
        refill,
    )


def _torch(originals: Sequence[Any], limit: float, case: str) -> Case:
    # What is only clipped is not written to but in its gradient.
    is_step = case == STEP
    parameters = [
        torch.nn.Parameter(original.clone() if is_step else original) for original in originals
    ]
    for parameter, original in zip(parameters, originals, strict=True):
        parameter.grad = original.clone()
    refill = _refilled([parameter.grad for parameter in parameters], originals)

    def clip() -> Any:
        return torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)

    if not is_step:
        return Case(clip, refill)
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def step() -> Any:
        norm = clip()
        optimizer.step()
        return norm

    return Case(step, refill)


def _contender(case: Case, exact: float) -> tuple[float, int]:
    """Return the error of the norm of a first call, and how many kernels one launches."""
    case.prepare()
    error = relative_error(case.call(), exact)
    return error, launches(case)


def compare(workload: Workload, case: str, rounds: int) -> list[Comparison]:
    torch.manual_seed(0)
    originals = [torch.randn(shape, device="cuda") for shape in workload.shapes]
    exact = exact_norm(originals)
    limit = limit_for(case, exact)
    cases = {
        "numclip": _numclip(originals, limit, case),
        "torch": _torch(originals, limit, case),
    }
    found = {name: _contender(each, exact) for name, each in cases.items()}
    samples = alternate(cases, rounds)
    targets = _TARGETS.get(workload.name, _Targets())
    numclip, pytorch = (
        Contender(samples[name], launches=count, error=error)
        for name, (error, count) in found.items()
    )
    return [Comparison(workload.title, case, numclip, pytorch, *targets)]
