"""Prove numclip's CUDA side: check it bit for bit, measure it, and write what docs/ shows.

Exit 1 if a check fails or a target is missed, 2 without a GPU. With NUMBA_ENABLE_CUDASIM=1 the
checks alone run, on tiny arrays, in Numba's simulator.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from .checks import KERNELS, LARGE, PARTS, run_checks
from .libraries import LIBRARIES, library_named
from .measure import measure
from .outcomes import SKIPPED, Outcome, say
from .places import Library, Unavailable
from .records import Measurements
from .report import Proof, as_markdown, as_text
from .samples import FULL, QUICK, TINY
from .sanitizer import sanitize
from .setting import describe_setting, is_simulated, why_no_device

_ROOT = Path(__file__).parents[2]
_DOCUMENTED = _ROOT / "docs" / "performance"
_TRIED = _ROOT / "build" / "performance"


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asv_benchmarks.gpu", description=__doc__)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--checks-only", action="store_true")
    parts.add_argument("--measure-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="try everything on small arrays")
    parser.add_argument(
        "--library", nargs="+", choices=LIBRARIES, help="whose arrays to check; by default all"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="by default docs/performance for the whole proof, else build/performance",
    )
    return parser.parse_args(given)


def _output_folder(arguments: argparse.Namespace) -> Path:
    if arguments.output_dir is not None:
        return Path(arguments.output_dir)
    is_part = arguments.checks_only or arguments.measure_only or arguments.library
    return _TRIED if is_part or arguments.quick or is_simulated() else _DOCUMENTED


def _libraries(names: Sequence[str]) -> tuple[list[Library], list[Outcome]]:
    """Return those that can be used, and what is left out."""
    libraries, left_out = [], []
    for name in names:
        try:
            libraries.append(library_named(name))
        except Unavailable as reason:
            say(f"{name} is left out: {reason}")
            left_out.append(Outcome(name, "all", "all", SKIPPED, str(reason)))
    return libraries, left_out


def _check(arguments: argparse.Namespace) -> list[Outcome]:
    if is_simulated():
        # The simulator waits for its threads in a loop, which they have to interrupt; NumPy warns
        # of what overflows in kernels that run as Python.
        sys.setswitchinterval(5e-5)
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        libraries, left_out = _libraries(["numba"])
        return left_out + run_checks(libraries, TINY, (*KERNELS, LARGE))
    libraries, left_out = _libraries(arguments.library or list(LIBRARIES))
    outcomes = run_checks(libraries, QUICK if arguments.quick else FULL, PARTS)
    return left_out + outcomes + sanitize()


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    reason = why_no_device()
    if reason:
        say(f"Nothing can be proved here: {reason}.")
        return 2
    outcomes: list[Outcome] = []
    measurements = Measurements()
    seconds: dict[str, float] = {}
    if not arguments.measure_only:
        start = perf_counter()
        outcomes = _check(arguments)
        seconds["checks"] = perf_counter() - start
    if not (arguments.checks_only or is_simulated()):
        start = perf_counter()
        measurements = measure(arguments.quick)
        seconds["measurements"] = perf_counter() - start
    is_quick = arguments.quick or is_simulated()
    proof = Proof(describe_setting(seconds), outcomes, measurements, is_quick)
    say(as_text(proof))
    path = _output_folder(arguments) / "gpu.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_markdown(proof), encoding="utf-8")
    taken = ", ".join(f"{part} {each:.0f} s" for part, each in seconds.items())
    say(f"\n{taken}. Written to {path}")
    return int(proof.has_failed)


if __name__ == "__main__":
    sys.exit(main())
