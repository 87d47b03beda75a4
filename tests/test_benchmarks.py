"""The benchmarks run, and the comparison says what it has measured."""

import importlib.util
import math
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from asv_benchmarks.benchmarks.answers import (
    exact_norm,
    norm_of_clipped_slices,
    norm_of_summed_rows,
    quick_norm,
)
from asv_benchmarks.benchmarks.figures import duration, significant
from asv_benchmarks.benchmarks.peers import prepare
from asv_benchmarks.benchmarks.processes import Process, WorkerError
from asv_benchmarks.benchmarks.sampling import limits_of
from asv_benchmarks.benchmarks.workloads import WORKLOADS, arrays_of
from asv_benchmarks.compare.measure import QUICK, Measurement, Measurer
from asv_benchmarks.compare.rows import (
    CONTENDER_NAMES,
    ROWS,
    SUBJECTS,
    Contender,
    Row,
    Target,
    select,
)
from asv_benchmarks.compare.summary import BEGIN, END, summary, write_summary

ROOT = Path(__file__).parent.parent


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "tensors", "size"),
    [
        ("1k", 1, 1000),
        ("mlp", 6, 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10),
        ("tiny", 1000, 64_000),
        ("1M", 1, 2**20),
        ("resnet-50", 161, 25_557_032),
        ("bert-base", 199, 109_482_240),
        ("64M", 1, 2**26),
    ],
)
def test_workload(name: str, tensors: int, size: int) -> None:
    assert (len(WORKLOADS[name].shapes), WORKLOADS[name].size) == (tensors, size)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_norms_to_compare_with(dtype: str) -> None:
    arrays = arrays_of(WORKLOADS["mlp"].capped(), dtype)
    expected = math.sqrt(math.fsum(float(x) ** 2 for array in arrays for x in array.reshape(-1)))
    assert exact_norm(arrays) == pytest.approx(expected, rel=2e-16)
    assert quick_norm(arrays) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("operation", "axis"), [("clip_rows", 1), ("clip_columns", 0)])
@pytest.mark.parametrize("peer", ["numclip", "numpy"])
def test_norm_of_clipped_slices(peer: str, operation: str, axis: int) -> None:
    arrays = arrays_of(WORKLOADS["matrix"].capped())
    case = prepare(peer, operation, arrays)
    expected = norm_of_clipped_slices(arrays[0], axis, 10.0 / 4)
    assert case.norm(case.call(case.as_limit(10.0))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("peer", ["numclip", "numpy", "scipy"])
def test_norm_of_summed_rows(peer: str) -> None:
    arrays = arrays_of(WORKLOADS["rows-1k"])
    case = prepare(peer, "coalesce", arrays)
    expected = norm_of_summed_rows(*arrays)
    assert case.norm(case.call(None)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("peer", ["numclip", "numpy"])
@pytest.mark.parametrize(("regime", "is_over"), [("over", True), ("under", False)])
def test_each_call_is_over_or_under_the_limit(peer: str, regime: str, is_over: bool) -> None:
    arrays = arrays_of(WORKLOADS["mlp"].capped())
    case = prepare(peer, "clip_in_place", arrays)
    for _ in range(2):
        limits = limits_of(case, quick_norm(arrays), regime, 100)
        assert [case.norm(case.call(limit)) > limit for limit in limits] == [is_over] * 101
        case.restore()


@pytest.mark.skipif(importlib.util.find_spec("asv") is None, reason="asv is not installed")
def test_asv_check(tmp_path: Path) -> None:
    process = run(
        *("-m", "asv", "check", "-E", "existing:same"),
        cwd=ROOT / "asv_benchmarks",
        HOME=str(tmp_path),
    )
    assert process.returncode == 0, process.stdout + process.stderr


# Runs what asv would, with the first of each parameter, in a process in which the number of
# threads can still be set.
RUN_BENCHMARKS = """
import importlib, subprocess, sys
from asv_benchmarks.benchmarks import startup
startup._ROUNDS = 1
module = importlib.import_module(f"asv_benchmarks.benchmarks.{sys.argv[1]}")
KINDS = ("time_", "track_", "peakmem_", "timeraw_")

def smallest(values):
    return "numclip" if "numclip" in values else values[0]

def call(name, function, parameters):
    result = function(*parameters)
    if "compiles" in name:
        compile(result, name, "exec")
    elif name.startswith("timeraw_"):
        subprocess.run([sys.executable, "-c", result], check=True)
    elif name.startswith("track_"):
        assert isinstance(result, float)
    print(name)

for name, member in list(vars(module).items()):
    if name.startswith(KINDS):
        call(name, member, ())
    elif isinstance(member, type) and member.__module__ == module.__name__:
        for method in dir(member):
            if method.startswith(KINDS):
                benchmark = member()
                parameters = [smallest(values) for values in member.params]
                benchmark.setup(*parameters)
                call(method, getattr(benchmark, method), parameters)
"""


@pytest.mark.parametrize(
    ("module", "count"),
    [
        ("clip", 6),
        ("norm", 3),
        ("slices", 2),
        ("optimizer", 5),
        ("partial_updates", 2),
        ("filters", 2),
        ("convolution", 2),
        ("gradients", 4),
        ("startup", 4),
    ],
)
def test_benchmarks_run(module: str, count: int) -> None:
    process = run("-W", "error", "-c", RUN_BENCHMARKS, module)
    assert process.returncode == 0, process.stderr[-2000:]
    assert len(process.stdout.split()) == count


def test_a_peer_that_is_missing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotImplementedError, match="torch is not installed"):
        prepare("torch", "clip_in_place", [])


def test_an_operation_that_is_missing_is_skipped() -> None:
    with pytest.raises(NotImplementedError, match="numpy has no clip_into"):
        prepare("numpy", "clip_into", [])


def test_a_worker_that_fails_says_why() -> None:
    with closing(Process()) as process, pytest.raises(WorkerError, match="numpy has no anything"):
        process.ask("prepare", "numpy", "anything")


def test_a_worker_that_ends_says_so() -> None:
    with closing(Process()) as process:
        process._process.kill()
        with pytest.raises(WorkerError, match="the process ended"):
            process.ask("release")


NUMCLIP = Contender("numclip", "numclip", "clip_in_place")
TARGET = Target(2.0, ("slow", "fast"))
ROW = Row("In place", "1k", (NUMCLIP,), targets=(TARGET,))


def measurement(fast: float, **failures: str) -> Measurement:
    samples = {"numclip": [1.0, 2.0, 4.0], "slow": [9.0, 18.0, 36.0]}
    return Measurement(
        ROW, {**samples, "fast": [fast, 2 * fast, 4 * fast]}, {"numclip": 0.0}, failures
    )


@pytest.mark.parametrize(("fast", "has_missed"), [(2.5, False), (2.0, False), (1.9, True)])
def test_verdict(fast: float, has_missed: bool) -> None:
    verdict = measurement(fast).verdict(TARGET)
    assert verdict is not None
    assert (verdict.fastest, verdict.ratio) == ("fast", (fast, fast, fast))
    assert measurement(fast).has_missed is has_missed


def test_what_failed_counts_as_missed() -> None:
    assert measurement(2.5, other="out of memory").has_missed


def test_a_target_against_nobody_is_not_judged() -> None:
    assert measurement(2.5).verdict(Target(1.0, ("nobody",))) is None


def test_a_contender_that_fails_leaves_the_others() -> None:
    row = Row("In place", "1k", (NUMCLIP, Contender("other", "numpy", "anything")))
    with closing(Measurer(QUICK)) as measurer:
        measured = measurer.measure(row)
    assert list(measured.samples) == ["numclip"]
    assert "numpy has no anything" in measured.failures["other"]


def test_everything_is_selected() -> None:
    assert tuple(select({row.workload for row in ROWS}, CONTENDER_NAMES)) == ROWS


def test_a_summary_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"a\n{BEGIN}\nold\n{END}\nb\n", encoding="utf-8")
    measured = [
        Measurement(row, {c.label: [2.0 if c == NUMCLIP else 5.0] for c in row.contenders}, {}, {})
        for row in ROWS
    ]
    for _ in range(2):
        write_summary(page, summary(measured))
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"a\n{BEGIN}\n| gradients |")
        assert text.endswith(f" |\n{END}\nb\n")
        assert (
            "| ResNet-50 | clip, over the limit | 2.00 s | 5.00 s, 2.50x | 5.00 s, 2.50x |" in text
        )
    with pytest.raises(KeyError):
        summary(measured[1:])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.909, "0.909"),
        (1.5, "1.50"),
        (15.04, "15.0"),
        (1234.5, "1234"),
        (0, "0"),
        (math.inf, "inf"),
    ],
)
def test_significant(number: float, text: str) -> None:
    assert significant(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.50 s"), (0.15, "150 ms"), (2e-9, "2.00 ns"), (2e-10, "0.200 ns")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quick_comparison(tmp_path: Path) -> None:
    process = run(
        *("-W", "error", "-m", "asv_benchmarks.compare", "--quick"),
        *("--contenders", "numclip", "numpy", "--output-dir", str(tmp_path)),
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    texts = {
        subject: (tmp_path / name).read_text(encoding="utf-8")
        for subject, name in (("clipping", "comparison.md"), ("steps", "steps.md"))
    }
    assert all("the figures mean nothing" in text for text in texts.values())
    assert {row.section for row in ROWS} == {each for part in SUBJECTS.values() for each in part}
    for subject, sections in SUBJECTS.items():
        assert all(f"## {section}" in texts[subject] for section in sections)
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
