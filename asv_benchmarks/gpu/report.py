"""The proof, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .outcomes import FAILED, Outcome
from .records import Measurements, targets
from .setting import Setting
from .tables import tables
from .text import markdown, plain

_METHOD = """\
A check does the same on the host and on the device, and compares every bit of what comes back; NaN
equals NaN. Times are medians of rounds in which the contenders take turns. The device's time is
taken by CUDA events around a call, before which the device sleeps until everything is enqueued:
it is that of the kernels and of the gaps between them. The host's time is that until the call
returns. Before each call gradients are given their values back, so that every call over the limit
scales; what is smaller than the device's cache lies in it then, for all alike. A ratio is that of
times of the same round, with its quartiles. Kernels are counted by PyTorch's profiler. An error is
that of the norm, relative to sums in float64. PyTorch is `clip_grad_norm_(foreach=True)`, and
`Adam(fused=True)` after it. optax is jitted, its arrays donated, in a process of its own: its time
is the host's, of 20 calls one after another.
"""


class Proof(NamedTuple):
    """All that was found out."""

    setting: Setting
    outcomes: Sequence[Outcome]
    measurements: Measurements
    # On arrays that are too small to say anything about speed.
    is_quick: bool = False

    @property
    def has_failed(self) -> bool:
        if any(outcome.status == FAILED for outcome in self.outcomes):
            return True
        missed = any(not target.is_met for target in targets(self.measurements))
        return bool(self.measurements.failures) or (missed and not self.is_quick)


def as_text(proof: Proof) -> str:
    return "\n".join(map(plain, tables(proof.outcomes, proof.measurements))).replace("**", "")


def as_markdown(proof: Proof) -> str:
    setting = proof.setting
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions.items())
    seconds = ", ".join(f"{part} {taken:.0f} s" for part, taken in setting.seconds.items())
    trial = "**A trial on small arrays: the figures mean nothing.**" if proof.is_quick else ""
    paragraphs = (
        "# On a GPU",
        trial,
        f"{setting.date}. {setting.device}, driver {setting.driver}. {versions}.",
        f"Made by `make gpu`, in {sum(setting.seconds.values()):.0f} s: {seconds}.",
        _METHOD.strip(),
        *proof.measurements.remarks,
        *map(markdown, tables(proof.outcomes, proof.measurements)),
    )
    return "\n\n".join(filter(None, paragraphs)) + "\n"
