"""The demo: a network that explodes without clipping, and learns with it."""

import textwrap
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from numclip._demo.network import Network
from numclip._demo.report import draw, table_of
from numclip._demo.text import Text, batches, documentation
from numclip._demo.training import LEARNING_RATE, Run, train

# With 32 of them BLAS would begin to share the network's products between threads.
BATCH = 30
# One more than the steps that backpropagation goes through: the first character is only given.
LENGTH = 51
PROMPT = "The "
TEMPERATURE = 0.5
INTERRUPTED = 130  # as in shells: 128 and the number of the signal


def demo(steps: int, seed: int, clip_norm: float, output: Path) -> int:
    """Train a network without and with clipping, show what came of it, return the exit code."""
    console = Console(markup=False, emoji=False, highlight=False)
    text = documentation()
    runs = runs_from_one_start(text, seed, clip_norm)
    exit_code = 0
    try:
        _train_all(runs, text, steps, seed, console)
    except KeyboardInterrupt:
        console.print("Interrupted: this is what there is.")
        exit_code = INTERRUPTED
    console.print(table_of(runs))
    _show_sample(runs[-1], text, seed, console)
    _show_picture(runs, output, console)
    return exit_code


def runs_from_one_start(text: Text, seed: int, clip_norm: float) -> list[Run]:
    return [
        Run("without clipping", Network(len(text.alphabet), seed), None),
        Run(f"norm limited to {clip_norm:g}", Network(len(text.alphabet), seed), clip_norm),
    ]


def _train_all(runs: Sequence[Run], text: Text, steps: int, seed: int, console: Console) -> None:
    console.print(
        f"A recurrent network learns the {text.codes.size:,} characters of Python's documentation"
        f" by gradient descent at rate {LEARNING_RATE:g}, twice from the same start:"
        f" {steps:,} steps on {BATCH} passages of {LENGTH - 1} characters."
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_interactive) as progress:
        for run in runs:
            task = progress.add_task(run.name, total=steps, loss=float("nan"))
            for step in islice(train(run, batches(text, BATCH, LENGTH, seed)), steps):
                progress.update(task, advance=1, loss=step.loss)


def _show_sample(run: Run, text: Text, seed: int, console: Console) -> None:
    if not run.history:
        return
    codes = text.encode(PROMPT)
    run.network.continue_text(codes, 500, TEMPERATURE, seed)
    # As one paragraph: the documentation's tables teach long runs of spaces.
    written = " ".join(text.decode(codes).split())
    console.print(f"\nWhat the network writes after {PROMPT!r}, {run.name}:\n")
    console.print(textwrap.indent(textwrap.fill(written, 72), "    "))


def _show_picture(runs: Sequence[Run], output: Path, console: Console) -> None:
    try:
        draw(runs, output)
    except ModuleNotFoundError:
        message = "No picture, as matplotlib is missing: pip install matplotlib"
    else:
        message = f"Picture: {output}"
    console.print(f"\n{message}", soft_wrap=True)
