"""What `python -m numclip info` tells, for people and for programs, and that it always does."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest

import numclip as nc
from numclip import _compile, _compile_cuda, _info
from numclip.__main__ import main

COMMAND = [sys.executable, "-W", "error", "-m", "numclip", "info"]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")
}


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        env=ENVIRONMENT | environment,
        text=True,
        encoding="utf-8",
    )


def told(**environment: str) -> Any:
    """Return what the command tells a program in such an environment."""
    result = run("--json", **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_a_program_reads_what_a_report_needs() -> None:
    found = told(NUMCLIP_NUM_THREADS="1", FORCE_COLOR="1")
    assert list(found) == [
        *("numclip", "python", "implementation", "platform", "packages", "processor"),
        *("threads", "cuda", "cache", "environment"),
    ]
    assert found["numclip"] == nc.__version__ == metadata.version("numclip")
    assert found["python"] == sys.version.split()[0]
    packages = found["packages"]
    assert (packages["numpy"], packages["numba"]) == (np.__version__, numba.__version__)
    assert {"scipy", "autograd", "llvmlite", "ml_dtypes", "matplotlib"} <= packages.keys()
    assert {"numba-cuda", "torch", "cupy"} <= packages.keys()
    assert found["environment"]["NUMCLIP_NUM_THREADS"] == "1"
    assert found["threads"]["numclip"] == 1
    assert not found["threads"]["used"]
    assert found["cache"]["problem"] is None


def test_a_person_reads_it_as_a_table() -> None:
    result = run(NUMCLIP_NUM_THREADS="1")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in lines if "│" in line]
    assert ["numclip", nc.__version__] in rows
    assert ["numpy", np.__version__] in rows
    assert ["NUMCLIP_NUM_THREADS", "1"] in rows
    named = {name for name, _ in rows}
    assert named >= {"Python", "platform", "processors", "instruction sets", "threads"}
    assert named >= {"threading layer", "CUDA", "cache folder", "cache"}


def test_the_processor_is_the_one_that_kernels_are_compiled_for() -> None:
    other = told(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+sse2,-avx,+f16c")
    assert other["processor"]["name"] == "generic"
    assert other["processor"]["instruction_sets"] == ["f16c", "sse2"]
    name, instruction_sets = _compile.processor()
    assert name
    assert ("f16c" in instruction_sets) == _compile.converts_float16() or name == "generic"


@pytest.mark.parametrize("layer", ["omp", "workqueue", "nonesuch"])
def test_threads_are_used_where_the_layer_allows(layer: str) -> None:
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4"}
    threads = told(**environment, NUMCLIP_NUM_THREADS="3")["threads"]
    # A layer that does not load is none.
    known = layer if layer == "workqueue" or (layer == "omp" and threads["layer"]) else None
    assert threads == {
        **{"numclip": 3, "most": 4, "layer": known, "used": known == "omp", "problem": None}
    }


def test_a_bad_number_of_threads_is_told_and_the_rest_with_it() -> None:
    problem = "`NUMCLIP_NUM_THREADS` must be a whole number of 1 or more, got 'two'"
    assert told(NUMCLIP_NUM_THREADS="two")["threads"]["problem"] == problem
    assert "got 'two'" in run(NUMCLIP_NUM_THREADS="two").stdout


def test_the_cache_is_counted(tmp_path: Path) -> None:
    (tmp_path / "norm.py310.nbi").write_bytes(b"1" * 10)
    (tmp_path / "norm.1.nbc").write_bytes(b"1" * 200)
    (tmp_path / "norm.pyc").write_bytes(b"1" * 3000)
    assert _info._cache(str(tmp_path)) == {
        **{"folder": str(tmp_path), "files": 2, "bytes": 210, "problem": None}
    }


def test_a_cache_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert _info._cache(str(tmp_path / "missing"))["problem"] == "No such file or directory"
    assert _info._cache(str(file))["problem"] == "Not a directory"


def test_a_cache_that_nothing_can_hold_is_told() -> None:
    # The one locator that is left takes only packages that lie in a zip file.
    locators = {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    cache = told(**locators)["cache"]
    assert cache["folder"] is None
    assert cache["problem"] == "no folder that could hold it can be written"
    assert "no folder that could hold it can be written" in run(**locators).stdout


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def version_of_others(name: str) -> str:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", version_of_others)


def test_without_the_extra_nothing_of_cuda_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def imported() -> None:
        raise AssertionError("numba.cuda was imported")

    without("numba-cuda", monkeypatch)
    monkeypatch.setattr(_compile_cuda, "numba_cuda", imported)
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["numba-cuda"] is None
    assert found["cuda"] == {
        "driver": None,
        "devices": [],
        "problem": "numba-cuda is not installed",
    }
    assert main(["info"]) == 0
    assert "numba-cuda is not installed" in capsys.readouterr().out


def test_the_simulator_is_no_gpu() -> None:
    cuda = told(NUMBA_ENABLE_CUDASIM="1")["cuda"]
    assert cuda["devices"] == []
    assert "simulated" in cuda["problem"]


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, ValueError])
def test_whatever_a_driver_raises_is_told(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error("\nno driver\nis here")

    monkeypatch.setattr(_compile_cuda, "numba_cuda", fail)
    monkeypatch.setattr(_compile_cuda, "is_simulated", lambda: False)
    assert _info._cuda() == {"driver": None, "devices": [], "problem": "no driver is here"}


def cuda_with(devices: list[Any], problem: str | None = None) -> Any:
    """Stand for numba.cuda on a machine with such devices."""
    driver = SimpleNamespace(get_version=lambda: (13, 0))
    return SimpleNamespace(
        cuda_error=lambda: problem, gpus=devices, cudadrv=SimpleNamespace(driver=driver)
    )


def test_a_driver_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile_cuda, "numba_cuda", lambda: cuda_with([], "too old"))
    monkeypatch.setattr(_compile_cuda, "is_simulated", lambda: False)
    assert _info._cuda()["problem"] == "too old"


def test_every_gpu_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpus = [
        SimpleNamespace(name="GPU [one]", compute_capability=(9, 0)),
        SimpleNamespace(name="GPU two", compute_capability=(12, 1)),
    ]
    monkeypatch.setattr(_compile_cuda, "numba_cuda", lambda: cuda_with(gpus))
    monkeypatch.setattr(_compile_cuda, "is_simulated", lambda: False)
    assert _info._cuda() == {
        "driver": "13.0",
        "devices": [
            {"name": "GPU [one]", "compute_capability": "9.0"},
            {"name": "GPU two", "compute_capability": "12.1"},
        ],
        "problem": None,
    }
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert "driver 13.0" in output
    assert "GPU [one], compute capability 9.0" in output
    assert "GPU two, compute capability 12.1" in output


def test_a_table_leaves_out_who_the_user_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/home/somebody/cache")
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert "~/cache" in output
    assert "somebody" not in output


def test_a_failure_of_the_machine_has_exit_code_1_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(as_json: bool) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_info, "info", fail)
    assert main(["info"]) == 1
    streams = capsys.readouterr()
    assert streams.err == "python -m numclip: error: [Errno 28] No space left on device\n"
    assert streams.out == ""


def test_a_reader_that_leaves_is_no_traceback() -> None:
    process = subprocess.Popen(
        [*COMMAND, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.parametrize("arguments", [["info", "more"], ["info", "--xml"], ["informed"]])
def test_a_mistake_in_the_arguments_has_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_mistake_in_the_environment_stops_the_demo_before_it_begins(tmp_path: Path) -> None:
    result = subprocess.run(
        [*COMMAND[:-1], "demo", "--output", str(tmp_path / "picture.png")],
        capture_output=True,
        env=ENVIRONMENT | {"NUMCLIP_NUM_THREADS": "two"},
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.endswith(
        "error: `NUMCLIP_NUM_THREADS` must be a whole number of 1 or more, got 'two'\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["/usr/bin/numclip", "numclip.exe"])
def test_the_script_goes_by_its_name(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: numclip [-h] COMMAND")
    (entry,) = metadata.entry_points(group="console_scripts", name="numclip")
    assert entry.load() is main
