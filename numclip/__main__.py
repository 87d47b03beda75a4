"""The command line, ``python -m numclip``, or ``numclip``."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

DEMO = """
Train a recurrent network on the text of Python's own documentation, by gradient descent at a rate
where its gradients explode: without clipping, and from the same start with clip_by_global_norm.
Print both losses and a text that the network writes, and draw the picture. Ctrl-C ends the
training; what there is by then is printed and drawn, and the exit code is 130.
"""
INFO = """
Print the versions of numclip and of what it uses, the processor, threads and GPUs as numclip sees
them, and where compiled kernels are kept: what an issue report needs. Only packages are looked at
that are installed, and none is imported but numba-cuda.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="numclip" if Path(sys.argv[0]).stem == "numclip" else "python -m numclip",
        description="TensorFlow's gradient clipping and optimizers for plain NumPy arrays.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_info(commands)
    options = parser.parse_args(arguments)
    if "run" not in options:
        parser.print_help()
        return 0
    try:
        return int(options.run(options))
    except OSError as error:  # such as a disk that is full
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1


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
    parser.set_defaults(run=partial(_run_demo, parser))


def _run_demo(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from numclip._demo import demo
    from numclip._threads import get_num_threads

    try:
        get_num_threads()
    except ValueError as error:  # in the environment, where the training would find it
        parser.error(str(error))
    return demo(options.steps, options.seed, options.clip_norm, options.output)


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="print what an issue report needs: versions, processor, threads, GPUs, cache",
        description=INFO,
    )
    parser.add_argument("--json", action="store_true", help="for other programs")
    parser.set_defaults(run=_run_info)


def _run_info(options: argparse.Namespace) -> int:
    from numclip._info import info

    return info(options.json)


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
