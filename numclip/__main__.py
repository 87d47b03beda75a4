"""The command line, ``python -m numclip``."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEMO = """
Train a recurrent network on the text of Python's own documentation, by gradient descent at a rate
where its gradients explode: without clipping, and from the same start with clip_by_global_norm.
Print both losses and a text that the network writes, and draw the picture. Ctrl-C ends the
training; what there is by then is printed and drawn, and the exit code is 130.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m numclip",
        description="TensorFlow's gradient clipping and optimizers for plain NumPy arrays.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    return int(options.run(options))


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a network that explodes without clipping, and learns with it",
        description=DEMO,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=_whole_number(1), default=400, help="of each run")
    parser.add_argument("--seed", type=_whole_number(0), default=0, help="of weights and batches")
    parser.add_argument("--clip-norm", type=_positive_number, default=1.0, help="limit of the norm")
    parser.add_argument(
        "--output", type=_writable_png, default="numclip-demo.png", help="where to draw"
    )
    parser.set_defaults(run=_run_demo)


def _run_demo(options: argparse.Namespace) -> int:
    from numclip._demo import demo

    return demo(options.steps, options.seed, options.clip_norm, options.output)


def _whole_number(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more, got {text}")
        return number

    return convert


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above zero and finite, got {text}")
    return number


def _writable_png(text: str) -> Path:
    """Take a path that can be written, so that a bad one is refused before minutes of work."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must end in .png, got {text}")
    existed = os.path.lexists(path)
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot be written: {error}") from None
    return path


if __name__ == "__main__":
    sys.exit(main())
