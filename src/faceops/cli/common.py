"""What the commands share: arguments, actions, and output as text or JSON."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from faceops.base.errors import UsageError

Run = Callable[[argparse.Namespace], int]


def add_command(subparsers: Any, name: str, run: Run, **texts: Any) -> argparse.ArgumentParser:
    """Add a command that `run` carries out, with the option --json; `texts` are argparse's."""
    parser: argparse.ArgumentParser = subparsers.add_parser(name, **texts)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=run)
    return parser


def add_group(subparsers: Any, name: str, **texts: Any) -> Any:
    """Add a command that has actions of its own, and return their subparsers."""
    parser = subparsers.add_parser(name, **texts)
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def add_folder(
    parser: argparse.ArgumentParser, option: str, default: str | None = None, text: str = ""
) -> None:
    """Add an option for a folder; without a default it is required."""
    shown = text if default is None else f"{text} (default: {default})".lstrip()
    parser.add_argument(
        option,
        type=Path,
        required=default is None,
        default=None if default is None else Path(default),
        metavar="DIR",
        help=shown,
    )


def add_folders(parser: argparse.ArgumentParser, option: str, text: str) -> None:
    """Add an option for a folder that may be given several times."""
    parser.add_argument(option, type=Path, action="append", default=[], metavar="DIR", help=text)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads, see `check_threads`."""
    parser.add_argument(
        "--threads", type=int, default=2, metavar="N", help="threads (default: %(default)s)"
    )


def check_threads(args: argparse.Namespace) -> None:
    """Refuse --threads below one.

    Raises:
        UsageError: it is below one.
    """
    if args.threads < 1:
        raise UsageError(f"--threads {args.threads} is wrong: 1 or more.")


def require_folder(folder: Path, advice: str) -> None:
    """Check that `folder` exists.

    Raises:
        UsageError: it does not; `advice` says what to do.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; {advice}.")


def show(args: argparse.Namespace, content: Any, lines: Sequence[str] | str) -> int:
    """Print `content` as JSON with --json, else the lines; return the exit code 0."""
    if args.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(lines if isinstance(lines, str) else "\n".join(lines))
    return 0
