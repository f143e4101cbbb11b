"""`faceops release`: register the last pipeline run in MLflow, list what is registered."""

import argparse
import json
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser("release", help="register and list releases in MLflow")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    register = actions.add_parser(
        "register", help="log the last `dvc repro` to MLflow and register its bundle"
    )
    register.add_argument("--json", action="store_true", help="print the version as JSON")
    register.set_defaults(run=_register)
    listing = actions.add_parser("list", help="list the registered releases, newest first")
    listing.add_argument("--json", action="store_true", help="print the versions as JSON")
    listing.set_defaults(run=_list)


def _register(args: argparse.Namespace) -> int:
    from faceops.release.registry.record_run import register_last_run

    version, is_new = register_last_run(Path.cwd())
    if args.json:
        print(json.dumps(version.as_dict() | {"new": is_new}, indent=2))
    else:
        held = f", {' and '.join(version.aliases)}" if version.aliases else ""
        done = "registered" if is_new else "nothing has changed since"
        print(f"{done} faceops version {version.version}{held}: {version.summary}")
        print("look at it: make mlflow, then choose Model registry > faceops in the browser")
    return 0


def _list(args: argparse.Namespace) -> int:
    from faceops.release.registry.store import has_store
    from faceops.release.registry.tracking import use_tracking
    from faceops.release.registry.versions import versions

    rows = []
    if has_store(Path.cwd()):
        use_tracking(Path.cwd())
        rows = versions()
    if args.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
        return 0
    if not rows:
        print("no release yet; run `dvc repro`, then `faceops release register`")
    for row in rows:
        aliases = ",".join(row.aliases) or "-"
        print(f"{row.version:>4}  {aliases:<12} {row.contract_id[:12]}  {row.summary}")
    return 0
