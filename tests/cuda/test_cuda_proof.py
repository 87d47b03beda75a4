"""The proof on a GPU: its checks run in the simulator, and it reports what is wrong."""

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

import numclip as nc
from asv_benchmarks.gpu import __main__ as program
from asv_benchmarks.gpu.agreement import difference
from asv_benchmarks.gpu.checks import KERNELS, LARGE
from asv_benchmarks.gpu.libraries import library_named
from asv_benchmarks.gpu.outcomes import FAILED, PASSED, SKIPPED, Check, Outcome, Part, run_part
from asv_benchmarks.gpu.peers import measure_optax
from asv_benchmarks.gpu.places import Library, Unavailable
from asv_benchmarks.gpu.records import (
    Bandwidth,
    Comparison,
    Contender,
    Failure,
    Measurements,
    Optax,
    Samples,
    targets,
)
from asv_benchmarks.gpu.report import Proof, as_markdown, as_text
from asv_benchmarks.gpu.samples import TINY, Scale
from asv_benchmarks.gpu.sanitizer import judged
from asv_benchmarks.gpu.setting import Setting
from asv_benchmarks.gpu.with_numba import Numba

INTEGERS = KERNELS[1]


@pytest.mark.parametrize("part", [*KERNELS, LARGE], ids=lambda part: part.title)
def test_everything_agrees(part: Part) -> None:
    outcomes = run_part(Numba(), part, TINY)
    assert len(outcomes) > 3
    assert [outcome for outcome in outcomes if outcome.status != PASSED] == []


def with_one_bit_wrong(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(t: Any, *arguments: Any, **keywords: Any) -> Any:
        result = function(t, *arguments, **keywords)
        if isinstance(result, FakeCUDAArray) and result.size:
            result._ary.reshape(-1).view(np.uint8)[-1] ^= 1
        return result

    return wrong


def on_the_host(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda t, *arguments, **keywords: np.asarray(
        getattr(function(t, *arguments, **keywords), "_ary", t)
    )


def raising(function: Callable[..., Any]) -> Callable[..., Any]:
    def raises(t: Any, *arguments: Any, **keywords: Any) -> Any:
        if isinstance(t, FakeCUDAArray):
            raise RuntimeError("out of luck")
        return function(t, *arguments, **keywords)

    return raises


@pytest.mark.parametrize(
    ("spoiled", "detail"),
    [
        (with_one_bit_wrong, "differs in "),
        (on_the_host, "is of ndarray, not an array of numba on the device"),
        (raising, "RuntimeError: out of luck"),
    ],
)
def test_what_is_wrong_is_reported(
    spoiled: Callable[..., Any],
    detail: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = run_part(Numba(), INTEGERS, TINY)
    monkeypatch.setattr(nc, "clip_by_value", spoiled(nc.clip_by_value))
    wrong = run_part(Numba(), INTEGERS, TINY)
    assert [each.name for each in wrong] == [each.name for each in right]
    (found,) = [each for each in wrong if each.name == "uint16, 130 numbers"]
    assert found.status == FAILED
    assert detail in found.detail
    assert f"FAILED numba, {INTEGERS.title}, int8, 1 numbers: " in capsys.readouterr().out


def test_nothing_runs_on_a_device_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        monkeypatch.setattr(Numba, "synchronize", _raise)
        raise RuntimeError("an illegal access")

    def checks(library: Library, scale: Scale) -> Iterator[Check]:
        yield Check("first", lambda: None)
        yield Check("second", lose)
        yield Check("third", lambda: None)

    outcomes = run_part(Numba(), Part("all", checks), TINY)
    assert [each.name for each in outcomes] == ["first", "second", "the rest"]
    assert [each.status for each in outcomes] == [PASSED, FAILED, FAILED]


def _raise(self: Any) -> None:
    raise RuntimeError("the device is lost")


@pytest.mark.parametrize(
    ("expected", "got", "found"),
    [
        (np.array([1.0, math.nan]), np.array([1.0, -math.nan]), ""),
        (np.array([0.0]), np.array([-0.0]), "differs in 1 of 1 numbers"),
        (np.array([1.0]), np.array([1.0], np.float32), "of dtype float32"),
        (np.array([1.0]), np.array([[1.0]]), "shape (1, 1)"),
        (np.array([1 + 2j]), np.array([1 + 3j]), "first in number 1"),
        ({"a": 1.0}, {"b": 1.0}, "not a mapping"),
        ([1.0, None], [1.0], "not a sequence of 2"),
        ([None, "text"], [None, "other"], "result[1] is 'other'"),
        (nc.IndexedSlices([1.0], [2], (3,)), [1.0], "not IndexedSlices"),
    ],
)
def test_difference(expected: Any, got: Any, found: str) -> None:
    there = FakeCUDAArray(got) if isinstance(got, np.ndarray) else got
    assert found in difference(expected, there, Numba())
    assert bool(difference(expected, there, Numba())) is bool(found)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unavailable, match="torch is not there"):
        library_named("torch")


def test_optax_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="jax and optax not installed"):
        measure_optax(True, print)


@pytest.mark.parametrize(
    ("code", "output", "status", "detail"),
    [
        (0, "========= ERROR SUMMARY: 0 errors\n", PASSED, "ERROR SUMMARY: 0 errors"),
        (9, "========= ERROR SUMMARY: 2 errors\n", FAILED, "ERROR SUMMARY: 2 errors"),
        (1, "numba 1 failed\n========= ERROR SUMMARY: 0 errors\n", FAILED, "exit code 1"),
        (1, "Traceback\nValueError: no\n", FAILED, "ValueError: no"),
        (1, "========= Error: Device not supported\n", SKIPPED, "not support this device"),
    ],
)
def test_sanitizer(code: int, output: str, status: str, detail: str) -> None:
    found, told = judged(code, output)
    assert found == status
    assert detail in told


def samples(device: float, host: float = 1e-5) -> Samples:
    return Samples([device, 1.1 * device, 1.2 * device], [host] * 3)


def measurements(norm: float = 0.3e-3, torch: float = 2e-3) -> Measurements:
    """Make up a copy of 2 GiB in 0.5 ms, and a list that numclip clips in 1 ms."""
    bandwidths = [
        Bandwidth("1 GiB of float32", name, moved << 30, samples(time), 2 << 30, samples(5e-4), 0.0)
        for name, moved, time in (("norm", 1, norm), ("clip in place", 3, 0.8e-3))
    ]
    ours, theirs = Contender(samples(1e-3), 3, 1e-16), Contender(samples(torch, 2e-5), 20, 3e-8)
    return Measurements(
        [each._replace(at_least=0.8) for each in bandwidths],
        [Comparison("BERT-base", "over the limit", ours, theirs, 1.0, 1.3, 1.0)],
        [Optax("BERT-base", "over the limit", [4e-3], 1e-7)],
    )


OUTCOMES = (
    Outcome("torch", "clip_by_norm", "float32", PASSED),
    Outcome("torch", "clip_by_norm", "bfloat16", SKIPPED, "no ml_dtypes"),
    Outcome("numba", "compute-sanitizer", "memcheck", PASSED, "ERROR SUMMARY: 0 errors"),
)
SETTING = Setting("2001-02-03", "A device", "1.2.3", {"numclip": "4.5"}, {"checks": 6.0})


def test_report() -> None:
    proof = Proof(SETTING, OUTCOMES, measurements())
    assert not proof.has_failed
    text = as_markdown(proof)
    for expected in (
        "2001-02-03. A device, driver 1.2.3. numclip 4.5.",
        "| 1 GiB of float32, norm: share of the copy's bandwidth | 0.833 (0.833 to 0.833) | 0.800",
        "| clip_by_norm | torch | 1 | 0 | 1 |",
        "| numba | memcheck | ERROR SUMMARY: 0 errors |",
        "| 1 GiB of float32 | copy | 550 µs |",
        "| BERT-base | over the limit | 1.10 ms (1.05 ms to 1.15 ms) | 2.20 ms",
        "| BERT-base | over the limit | 3 | 20 | 1e-16 | 3e-08 |",
        "| BERT-base | over the limit | 4.00 ms (4.00 ms to 4.00 ms) | 1e-07 | 3.64 |",
    ):
        assert expected in text
    assert "missed" not in text
    assert "over the limit" in as_text(proof)


@pytest.mark.parametrize(
    ("made_up", "line"),
    [
        (measurements(norm=0.4e-3), "0.625 (0.625 to 0.625) | 0.800 |  | **missed** |"),
        (measurements(torch=0.9e-3), "0.900 (0.900 to 0.900) | 1.00 | 1.30 | **missed** |"),
    ],
)
def test_a_missed_target_is_shown(made_up: Measurements, line: str) -> None:
    proof = Proof(SETTING, OUTCOMES, made_up)
    assert sum(not target.is_met for target in targets(made_up)) == 1
    assert proof.has_failed
    assert line in as_markdown(proof)
    assert "missed" in as_text(proof) and "**" not in as_text(proof)
    assert not proof._replace(is_quick=True).has_failed


def test_what_failed_is_shown() -> None:
    outcome = Outcome("cupy", "streams", "4 streams", FAILED, "result differs")
    failure = Failure("BERT-base", "out of memory")
    for proof, line in (
        (Proof(SETTING, [outcome], Measurements(), True), "| cupy | 4 streams | result differs |"),
        (Proof(SETTING, [], Measurements(failures=[failure]), True), "| BERT-base | out of"),
    ):
        assert proof.has_failed
        assert line in as_markdown(proof)


def test_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "KERNELS", (INTEGERS,))
    assert program.main(["--output-dir", str(tmp_path)]) == 0
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "Numba's simulator of CUDA" in text
    assert f"| {INTEGERS.title} | numba | 24 | 0 | 0 |" in text
    monkeypatch.setattr(nc, "clip_by_value", with_one_bit_wrong(nc.clip_by_value))
    assert program.main(["--output-dir", str(tmp_path)]) == 1
    assert "## Failed checks" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_program_without_a_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "why_no_device", lambda: "no CUDA device")
    assert program.main([]) == 2
    assert capsys.readouterr().out == "Nothing can be proved here: no CUDA device.\n"
