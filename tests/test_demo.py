"""The demo: its parts, and the command line as a user runs it."""

import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numclip as nc
import numclip._demo
from numclip.__main__ import main
from numclip._demo import runs_from_one_start
from numclip._demo.network import Network
from numclip._demo.report import draw, table_of
from numclip._demo.text import Text, batches, documentation
from numclip._demo.training import Run, Step, train

COMMAND = [sys.executable, "-W", "error", "-m", "numclip"]
# What would have rich take a pipe for a terminal, or another width.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")
}


def run_command(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        env=ENVIRONMENT,
        text=True,
        encoding="utf-8",
    )


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def numbers_in_row(output: str, title: str) -> list[float]:
    (row,) = re.findall(rf"{title} .*", output)
    return [float(number) for number in re.findall(r"[\d.]+(?:e[+-]\d+)?", row[len(title) :])]


def some_passages(characters: int, length: int, count: int) -> Any:
    return np.random.default_rng(0).integers(characters, size=(length, count))


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """What runs in the background of a shell ignores them, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_gradients_of_the_loss_are_right() -> None:
    network = Network(5, embedding=3, hidden=4, dtype=np.float64)
    passages = some_passages(5, length=6, count=2)
    _, gradients = nc.value_and_gradients(lambda: network.loss(passages), network.variables)
    for variable, gradient in zip(network.variables, gradients, strict=True):
        dense = gradient.to_dense() if isinstance(gradient, nc.IndexedSlices) else gradient
        np.testing.assert_allclose(
            dense, finite_differences(network, passages, variable), rtol=1e-6, atol=1e-9
        )


def finite_differences(network: Network, passages: Any, variable: nc.Variable) -> Any:
    array, step = variable.array, 1e-6
    differences = np.empty_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = before + step
        above = network.loss(passages)
        array[index] = before - step
        below = network.loss(passages)
        array[index] = before
        differences[index] = (above - below) / (2 * step)
    return differences


def test_only_the_gradient_of_the_embedding_is_sparse() -> None:
    network = Network(50)
    passages = some_passages(50, length=4, count=2)
    _, gradients = nc.value_and_gradients(lambda: network.loss(passages), network.variables)
    assert [type(gradient) for gradient in gradients] == [nc.IndexedSlices] + [np.ndarray] * 3
    assert {gradient.dtype for gradient in gradients} == {np.dtype(np.float32)}
    assert set(gradients[0].indices) == set(passages[:-1].ravel())


def test_both_runs_begin_from_the_same_start() -> None:
    without, clipped = runs_from_one_start(documentation(), seed=3, clip_norm=1.0)
    for one, other in zip(without.network.variables, clipped.network.variables, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
        assert not np.shares_memory(one.array, other.array)


def test_the_network_is_as_large_as_promised() -> None:
    network = Network(len(documentation().alphabet))
    assert network.recurrent_weights.shape == (128, 128)
    orthogonal = network.recurrent_weights.array
    np.testing.assert_allclose(orthogonal @ orthogonal.T, np.eye(128), atol=1e-5)
    assert numclip._demo.LENGTH - 1 >= 50


def test_the_text_is_that_of_python() -> None:
    text = documentation()
    assert 'The "assert" statement' in text.decode(text.codes)
    assert text.decode(text.encode("while")) == "while"


def test_a_seed_gives_the_same_passages() -> None:
    text = Text("abcdefgh", np.arange(8))
    one, other = (next(batches(text, batch=20, length=5, seed=7)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (5, 20)
    assert set(one[0]) == {0, 1, 2, 3}, "a passage may begin where it still fits, and only there"
    np.testing.assert_array_equal(one - one[0], np.tile(np.arange(5)[:, np.newaxis], 20))


def test_a_limit_holds_in_the_step_that_is_taken() -> None:
    passages = some_passages(9, length=4, count=2)
    limit, rate = 1e-3, numclip._demo.LEARNING_RATE
    run = Run("clipped", Network(9), limit)
    before = [variable.array.astype(np.float64) for variable in run.network.variables]
    (step,) = train(run, [passages])
    moved = [b - v.array for b, v in zip(before, run.network.variables, strict=True)]
    assert step.clipped
    assert step.norm > limit
    # Rows of the embedding that occur twice count separately in the norm.
    assert nc.global_norm(moved[1:]) <= rate * limit * (1 + 1e-4)
    assert run.history == [step]


@pytest.mark.parametrize(
    "losses", [[], [math.nan] * 3, [math.inf, math.nan, 5.0], [1e-300, 0.0, 1e300], [3.0]]
)
@pytest.mark.parametrize("clip_norm", [1e-300, 0.5, 1e300])
def test_any_numbers_can_be_reported(losses: list[float], clip_norm: float, tmp_path: Path) -> None:
    runs = runs_from_one_start(documentation(), seed=0, clip_norm=clip_norm)
    runs[0].history += [Step(loss, loss, False, 0.1) for loss in losses]
    table = table_of(runs)
    assert table.row_count == (4 if losses else 3)
    draw(runs, tmp_path / "picture.png")
    assert is_png(tmp_path / "picture.png")


def test_a_short_demo(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    result = run_command("demo", "--steps", "3", "--clip-norm", "0.25", "--output", picture)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert re.search(r"without clipping .* norm limited to 0.25", result.stdout)
    assert len(numbers_in_row(result.stdout, "loss, steps 1 to 3")) == 2
    assert len(numbers_in_row(result.stdout, "largest gradient norm")) == 2
    assert numbers_in_row(result.stdout, "steps clipped") == [0, 3, 3, 3]
    assert len(numbers_in_row(result.stdout, "steps per second")) == 2
    assert "What the network writes after 'The ', norm limited to 0.25:" in result.stdout
    assert result.stdout.replace("\n", "").endswith(f"Picture: {picture}")
    assert is_png(picture)
    assert not re.search("[\x1b\r]", result.stdout), "a bar without a terminal"
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80


def test_it_explodes_without_clipping_and_learns_with_it(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    result = run_command("demo", "--output", picture)
    assert result.returncode == 0, result.stderr
    without, clipped = numbers_in_row(result.stdout, "loss, steps 301 to 400")
    assert without > 4
    assert clipped < 2
    assert picture.stat().st_size < 120_000


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--steps", "1", "--output", str(tmp_path / "picture.png")]) == 0
    output = capsys.readouterr().out
    assert "pip install matplotlib" in output
    assert "loss, steps 1 to 1" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("clipped", "rows"),
    [(False, ["loss, steps 1 to 2 .* - "]), (True, ["loss, steps 1 to 5 ", "0 of 5 .* 2 of 2"])],
)
def test_an_interrupt_ends_it_with_what_it_has(
    clipped: bool,
    rows: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(run: Run, batches: Any) -> Iterator[Step]:
        for step in train(run, batches):
            yield step
            if len(run.history) == 2 and (run.clip_norm is not None) == clipped:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(numclip._demo, "train", interrupted)
    picture = tmp_path / "picture.png"
    assert main(["demo", "--steps", "5", "--clip-norm", "1e-6", "--output", str(picture)]) == 130
    output = capsys.readouterr().out
    for row in rows:
        assert re.search(row, output), output
    assert ("What the network writes" in output) == clipped
    assert is_png(picture)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_terminal_has_a_bar_until_control_c(tmp_path: Path) -> None:
    import pty

    picture = tmp_path / "picture.png"
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "demo", "--steps", "1000000", "--output", str(picture)],
        stdout=end,
        stderr=end,
        env=ENVIRONMENT | {"TERM": "xterm-256color"},
    )
    os.close(end)
    output = b""
    for chunk in iter_terminal(terminal):
        seen = re.search(rb"without clipping.*[1-9]\d*/1000000", output, re.DOTALL)
        output += chunk
        if not seen and re.search(rb"without clipping.*[1-9]\d*/1000000", output, re.DOTALL):
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130, output.decode()
    assert b"steps per second" in output
    assert is_png(picture)


def iter_terminal(terminal: int) -> Iterator[bytes]:
    """Read until the other end is closed, which Linux reports as an error."""
    try:
        while chunk := os.read(terminal, 4096):
            yield chunk
    except OSError:
        pass
    finally:
        os.close(terminal)


def test_help_tells_every_option() -> None:
    for arguments in ([], ["--help"]):
        assert "demo" in run_command(*arguments).stdout
    text = run_command("demo", "--help").stdout
    assert text.startswith("usage: python -m numclip demo")
    for option in ("--steps", "--seed", "--clip-norm", "--output", "130"):
        assert option in text


def test_help_imports_nothing_that_only_the_demo_needs() -> None:
    code = (
        "import sys; from numclip.__main__ import main\n"
        "try: main(['demo', '--help'])\n"
        "except SystemExit: print({'autograd', 'matplotlib', 'rich'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--steps", "0"], "--steps: must be a whole number, 1 or more, got 0"),
        (["demo", "--steps", "-3"], "--steps: must be a whole number, 1 or more, got -3"),
        (["demo", "--steps", "1.5"], "--steps: must be a whole number, 1 or more, got 1.5"),
        (["demo", "--seed", "-1"], "--seed: must be a whole number, 0 or more, got -1"),
        (["demo", "--seed", "one"], "--seed: must be a whole number, 0 or more, got one"),
        (["demo", "--clip-norm", "0"], "--clip-norm: must be a number above zero and finite"),
        (["demo", "--clip-norm", "-1"], "--clip-norm: must be a number above zero and finite"),
        (["demo", "--clip-norm", "nan"], "--clip-norm: must be a number above zero and finite"),
        (["demo", "--clip-norm", "inf"], "--clip-norm: must be a number above zero and finite"),
        (["demo", "--clip-norm", "a"], "--clip-norm: must be a number above zero and finite"),
        (["demo", "--output", "picture.pdf"], "--output: must end in .png, got picture.pdf"),
        (["demo", "--output", "none/picture.png"], "--output: cannot be written: "),
        (["demo", "--output", "picture.png", "--steps", "0"], "--steps: "),
        (["demo", "--output", "picture.png", "more"], "unrecognized arguments: more"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert message in streams.err
    assert streams.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(SystemExit):
        main(["demo", "--output", str(folder)])
    assert "--output: cannot be written: " in capsys.readouterr().err


def test_a_file_that_is_there_is_left_alone_until_the_end(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_text("mine")
    with pytest.raises(SystemExit):
        main(["demo", "--output", str(picture), "more"])
    assert picture.read_text() == "mine"
