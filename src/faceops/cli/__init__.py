"""The `faceops` command. Exit codes: 0 success, 1 failure, 2 wrong arguments."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import faceops
from faceops.base.errors import FaceOpsError, user_error
from faceops.cli.common import check_folders, escaped

# Modules of this package, each with one command or several.
COMMANDS = (
    *("data", "gallery", "decisions", "backup"),
    *("identify", "review", "evaluate", "release"),
)

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
    """Return the parser of all commands."""
    parser = _Parser(prog="faceops", description=faceops.__doc__)
    parser.add_argument("--version", action="version", version=f"faceops {faceops.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"faceops.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    command = "faceops"
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


def _lacking_extra(error: Exception) -> FaceOpsError | None:
    """Return the error that names the extra whose package could not be imported."""
    if not isinstance(error, ModuleNotFoundError) or (error.name or "faceops")[:7] == "faceops":
        return None
    package = str(error.name).partition(".")[0]
    extra = _EXTRAS.get(package, "rebuild")
    return FaceOpsError(
        f"this needs the package {package}, which is not installed; pip install 'faceops[{extra}]'."
    )
