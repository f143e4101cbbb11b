"""`faceops release`: register, compare, gate and promote releases in MLflow."""

import argparse
import json
from pathlib import Path

from faceops.commands import release_moves, release_shown


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "release",
        help="register, compare, gate, promote and roll back releases in MLflow",
        description="Releases are versions of the registered model `faceops` in MLflow. VERSION is "
        "a number, or an alias: champion, challenger.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    register = actions.add_parser(
        "register", help="log the last `dvc repro` to MLflow and register its bundle"
    )
    register.add_argument("--json", action="store_true", help="print the version as JSON")
    register.set_defaults(run=_register)
    release_shown.add_parsers(actions)
    release_moves.add_parsers(actions)


def _register(args: argparse.Namespace) -> int:
    from faceops.release.registry.record_run import register_last_run

    version, is_new = register_last_run(Path.cwd())
    if args.json:
        print(json.dumps(version.as_dict() | {"new": is_new}, indent=2))
        return 0
    held = f", {' and '.join(version.aliases)}" if version.aliases else ""
    done = "registered" if is_new else "nothing has changed since"
    print(f"{done} faceops version {version.version}{held}: {version.summary}")
    print("look at it: make mlflow, then choose Model registry > faceops in the browser")
    if is_new and "champion" not in version.aliases:
        print(f"next: faceops release promote {version.version}, which asks the gate first")
    return 0
