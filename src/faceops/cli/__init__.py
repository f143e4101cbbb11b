"""The `faceops` command, and what its subcommands share: arguments, output as text or JSON.

Exit codes: 0 success, 1 failure, 2 wrong arguments.
"""

import argparse
import getpass
import importlib
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import faceops
from faceops.base.errors import FaceOpsError, UsageError, printable, user_error
from faceops.base.files import valid_unicode
from faceops.base.stores import is_url
from faceops.gallery.storage import gallery_place
from faceops.photos import folders
from faceops.photos.formats import PhotoLimits

Run = Callable[[argparse.Namespace], int]
PARAMS = Path("params.yaml")
NO_FOLDER = "name a release bundle's folder"

# Modules of this package, each with one command or several.
COMMANDS = ("data", "gallery", "people", "identify", "review", "evaluate", "release")

_EXTRAS = {  # of packages that are not those of `rebuild`
    "cryptography": "signing",
    "model_signing": "signing",
    "starlette": "review",
    "uvicorn": "review",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors tell how an argument that begins with `-` is written."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        given = self._given[: self._given.index("--")] if "--" in self._given else self._given
        # All options but -h begin with two dashes.
        dashed = [word for word in given if word[:1] == "-" and word[1:2] not in ("-", "h", "")]
        if dashed and "expected one argument" in message:
            message += f"; an option's value that begins with - is written --OPTION={dashed[0]}"
        elif dashed:
            message += f"; a name that begins with - needs -- before it: OPTIONS -- {dashed[0]}"
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="faceops", description=faceops.__doc__)
    parser.add_argument("--version", action="version", version=f"faceops {faceops.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"faceops.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    command = "faceops"
    _open_streams()
    try:
        args = build_parser().parse_args(argv)
        command += f" {args.command}"
        check_folders(args)
        return int(args.run(args))
    except KeyboardInterrupt:
        print(f"{command}: interrupted; run it again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has ended (`| head`); discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (reported := user_error(error) or _lacking_extra(error)) is None:
            raise
        print(f"{command}: {escaped(str(reported))}", file=sys.stderr)
        return reported.exit_code


def _open_streams() -> None:
    """Let stdout and stderr take every text, also if they are closed or not in UTF-8."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _lacking_extra(error: Exception) -> FaceOpsError | None:
    """Return the error that names the extra whose package could not be imported."""
    if not isinstance(error, ModuleNotFoundError) or (error.name or "faceops")[:7] == "faceops":
        return None
    package = str(error.name).partition(".")[0]
    extra = _EXTRAS.get(package, "rebuild")
    return FaceOpsError(
        f"this needs the package {package}, which is not installed; pip install 'faceops[{extra}]'."
    )


def add_command(subparsers: Any, run: Run, **settings: Any) -> argparse.ArgumentParser:
    """Add the command that `run` carries out, under the name of that function, with --json.

    The function's docstring is its help, unless the `settings` of argparse have another.
    """
    first, _, rest = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    texts = {"help": first[0].lower() + first[1:].removesuffix("."), "description": rest or None}
    parser: argparse.ArgumentParser = subparsers.add_parser(
        run.__name__.strip("_"), **texts | settings
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=run)
    return parser


def add_group(subparsers: Any, name: str, **texts: Any) -> Any:
    """Add a command that has subcommands, and return its subparsers."""
    parser = subparsers.add_parser(name, **texts)
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def add_folder(
    parser: Any, name: str, kind: folders.Kind, use: folders.Use = folders.Use.READ, **settings: Any
) -> None:
    """Add an argument that names a folder, or folders, to be checked before the command runs.

    `kind`: of what the folder holds.
    """
    read = gallery_place if kind is folders.GALLERY else Path
    settings = {"type": read} | ({"metavar": "DIR"} if name.startswith("-") else {}) | settings
    if settings.get("default"):
        settings["help"] = f"{settings.get('help', '')} (default: %(default)s)".lstrip()
    action = parser.add_argument(name, **settings)
    known = parser.get_default("folders") or ()
    parser.set_defaults(folders=(*known, (action.dest, kind, use)))


def check_folders(args: argparse.Namespace) -> None:
    """Check the folders that a command's arguments name, see `faceops.photos.folders`.

    Raises UsageError: one of them is wrong.
    """
    named = []
    for name, kind, use in getattr(args, "folders", ()):
        given = getattr(args, name)
        paths = given if isinstance(given, list) else [given]
        # What a URL leads to is checked where it is used; a gallery may be in a database.
        local = [Path(path) for path in paths if path is not None and not is_url(str(path))]
        named += [folders.Folder(path, kind, use) for path in local]
    folders.check_folders(named)


def add_threads(parser: argparse.ArgumentParser) -> None:
    text = "threads (default: %(default)s)"
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help=text)


def add_exclude(parser: argparse.ArgumentParser) -> None:
    text = (
        "skip files and folders that match, as in a .gitignore file; may be given several times. "
    )
    text += "Files named .faceopsignore in the folders hold such patterns too"
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help=text)


def skipped_line(skipped: Mapping[str, int]) -> list[str]:
    """Return the line that says what rules of exclusion skipped; none if nothing was."""
    rules = [f"{count} {rule}" for rule, count in sorted(skipped.items())]
    return [f"files and folders skipped: {', '.join(rules)}"] if rules else []


def add_photo_limits(parser: argparse.ArgumentParser) -> None:
    """Add --max-megapixels and --max-megabytes; see `photo_limits`."""
    for unit, default, what in (
        ("megapixels", PhotoLimits.max_pixels, "photos, JPEGs excepted, "),
        ("megabytes", PhotoLimits.max_bytes, "files "),
    ):
        text = f"larger {what}are not opened (default: {default // 10**6})"
        parser.add_argument(f"--max-{unit}", type=float, metavar="N", help=text)


def photo_limits(args: argparse.Namespace) -> PhotoLimits:
    """Return the limits of the arguments that `add_photo_limits` adds.

    Raises UsageError: one is not a positive number.
    """
    given = {}
    for name, field in (("max_megapixels", "max_pixels"), ("max_megabytes", "max_bytes")):
        if (millions := getattr(args, name)) is None:
            continue
        if not 1e-6 <= millions <= 1e9:
            raise UsageError(f"{name} {millions:g} is wrong: give a positive number, e.g. 400.")
        given[field] = int(millions * 1e6)
    return PhotoLimits(**given)


def add_by(parser: argparse.ArgumentParser) -> None:
    text = "who decides, noted in the journal of decisions (default: this user's name; '' for none)"
    parser.add_argument("--by", metavar="NAME", type=valid_unicode, help=text)


def decided_by(args: argparse.Namespace) -> str:
    """Return who decides: --by, else the name of the user who runs the command, "" if unknown."""
    if args.by is not None:
        return str(args.by).strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container the user may have no name
        return ""


def positive(text: str) -> int:
    """Return the number that an argument gives, refused if it is below one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def require_folder(folder: Path, advice: str) -> None:
    """Check that `folder` exists. Raises UsageError: it does not; `advice` says what to do."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; {advice}.")


def escaped(text: str) -> str:
    """Return `text` with escapes for the control characters that names in it may have."""
    return "\n".join(map(printable, text.split("\n")))


def show(args: argparse.Namespace, content: Any, lines: Sequence[str] | str) -> int:
    """Print `content` as JSON with --json, else the lines; return the exit code 0."""
    if args.json:
        is_utf8 = (sys.stdout.encoding or "utf-8").lower() == "utf-8"
        print(json.dumps(content, indent=2, ensure_ascii=not is_utf8))
    else:
        print(escaped(lines if isinstance(lines, str) else "\n".join(lines)))
    return 0
