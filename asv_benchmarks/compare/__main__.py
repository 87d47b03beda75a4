"""Compare, print, and write what docs/ shows; exit 1 if a target is missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ..benchmarks.peers import is_installed
from .measure import NUMCLIP, QUICK, Measurement, Measurer, Settings
from .report import markdown, print_tables
from .rows import CONTENDER_NAMES, SUBJECTS, WORKLOAD_NAMES, Row, select
from .setting import Setting, describe_setting
from .summary import summary, write_summary

_ROOT = Path(__file__).parents[2]
_DOCUMENTED = _ROOT / "docs" / "performance"
_TRIED = _ROOT / "build" / "performance"
_TITLES = {
    "clipping": "numclip and what one would use instead",
    "steps": "Steps that clip: numclip and what one would use instead",
}
_FILES = {"clipping": "comparison.md", "steps": "steps.md"}


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asv_benchmarks.compare", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOAD_NAMES, default=WORKLOAD_NAMES)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDER_NAMES, default=CONTENDER_NAMES)
    parser.add_argument("--rounds", type=int, help=f"by default {Settings().rounds}")
    parser.add_argument(
        "--quick", action="store_true", help="try everything on tensors of capped size"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="by default docs/performance for the whole comparison, else build/performance",
    )
    arguments = parser.parse_args(given)
    missing = [peer for peer in arguments.contenders if not is_installed(peer)]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}; --contenders can leave them out")
    if NUMCLIP not in arguments.contenders:
        parser.error("--contenders must have numclip, which the others are compared with")
    return arguments


def _output_folder(arguments: argparse.Namespace, rows: Sequence[Row]) -> Path:
    if arguments.output_dir is not None:
        return Path(arguments.output_dir)
    whole = select(WORKLOAD_NAMES, CONTENDER_NAMES, arguments.subjects)
    is_whole = list(rows) == whole and not arguments.quick
    return _DOCUMENTED if is_whole else _TRIED


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = QUICK if arguments.quick else Settings()
    return settings._replace(rounds=arguments.rounds) if arguments.rounds else settings


def _measure(
    console: Console, rows: Sequence[Row], peers: list[str], settings: Settings
) -> tuple[Setting, list[Measurement]]:
    # Rows of a workload one after another, so that it is made once.
    order = sorted(rows, key=lambda row: (row.workload, row.dtype))
    with closing(Measurer(settings)) as measurer:
        setting = describe_setting(measurer, peers, settings)
        measured = {
            rows.index(row): measurer.measure(row)
            for row in track(order, "Measuring", console=console)
        }
    return setting, [measured[position] for position in range(len(rows))]


def _write(folder: Path, setting: Setting, measurements: Sequence[Measurement]) -> None:
    from .picture import save_picture

    folder.mkdir(parents=True, exist_ok=True)
    for subject, sections in SUBJECTS.items():
        chosen = [each for each in measurements if each.row.section in sections]
        if not chosen:
            continue
        picture = ""
        if subject == "clipping":
            picture = "comparison.png"
            save_picture(chosen, folder / picture)
        text = markdown(setting, chosen, _TITLES[subject], picture)
        (folder / _FILES[subject]).write_text(text, encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    console = Console()
    rows = select(arguments.workloads, arguments.contenders, arguments.subjects)
    settings = _settings(arguments)
    setting, measurements = _measure(console, rows, list(arguments.contenders), settings)
    print_tables(console, measurements)
    folder = _output_folder(arguments, rows)
    _write(folder, setting, measurements)
    if folder == _DOCUMENTED and set(arguments.subjects) == set(SUBJECTS):
        write_summary(_ROOT / "README.md", summary(measurements))
    console.print(f"Written to {folder}")
    if settings.is_capped:
        return int(any(measurement.failures for measurement in measurements))
    return int(any(measurement.has_missed for measurement in measurements))


if __name__ == "__main__":
    sys.exit(main())
