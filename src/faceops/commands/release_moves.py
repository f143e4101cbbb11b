"""`faceops release gate`, `promote`, `rollback` and `export`: what makes a release champion."""

import argparse
import json
from pathlib import Path

from faceops.commands.release_shown import open_store

PARAMS = Path("params.yaml")


def add_parsers(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the actions to the parser of `faceops release`."""
    gate = actions.add_parser(
        "gate",
        help="hold a release against the champion, on photos of people whom neither has seen",
        description="The rules are the section gate of params.yaml. The verdict goes to the "
        "version's page and run in MLflow, and to build/gate. Exit code 1 where it is refused.",
    )
    gate.add_argument("version", nargs="?", default="challenger", metavar="VERSION")
    gate.add_argument("--against", default="champion", metavar="VERSION")
    promote = actions.add_parser(
        "promote",
        help="make a release champion, if it passes the gate",
        description="A verdict against the present champion by the present rules stands; else the "
        "gate is asked first.",
    )
    promote.add_argument("version", nargs="?", default="challenger", metavar="VERSION")
    promote.add_argument(
        "--override", metavar="REASON", help="promote whatever the gate says; the reason is kept"
    )
    for parser in (gate, promote):
        parser.add_argument("--threads", type=int, default=2, help="threads [%(default)s]")
    rollback = actions.add_parser("rollback", help="make the champion before champion again")
    rollback.add_argument("--because", default="", metavar="REASON", help="kept in the log")
    export = actions.add_parser("export", help="write a release's bundle to a folder")
    export.add_argument("version", nargs="?", default="champion", metavar="VERSION")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    for parser, run in (
        (gate, _gate),
        (promote, _promote),
        (rollback, _rollback),
        (export, _export),
    ):
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.set_defaults(run=run)


def _gate(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError
    from faceops.config import read_params
    from faceops.release.gate.gate_release import gate_release
    from faceops.release.registry.versions import find_version

    _check_threads(args.threads)
    settings = read_params(PARAMS).gate
    open_store()
    challenger, champion = find_version(args.version), find_version(args.against)
    if challenger.version == champion.version:
        raise UsageError(f"version {champion.version} cannot be held against itself.")
    verdict = gate_release(challenger, champion, Path.cwd(), settings, args.threads)
    print(json.dumps(verdict.as_dict(), indent=2) if args.json else verdict.markdown(), end="")
    if args.json:
        print()
    return 0 if verdict.passed else 1


def _promote(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError
    from faceops.config import read_params
    from faceops.config.sections import Gate
    from faceops.release.gate.promote import promote
    from faceops.release.registry.versions import find_version

    _check_threads(args.threads)
    override = (args.override or "").strip()
    if args.override is not None and not override:
        raise UsageError("--override needs a reason, which is kept with the release.")
    settings = Gate() if override else read_params(PARAMS).gate  # no rule can hinder it then
    open_store()
    done = promote(
        find_version(args.version), Path.cwd(), settings, override=override, threads=args.threads
    )
    if args.json:
        print(json.dumps(vars(done), indent=2))
        return 0
    over = f", over version {done.over}" if done.over else ""
    print(f"faceops version {done.version} is champion{over}: {done.told}")
    if done.over:
        print("galleries of another contract id follow by `faceops people reembed`; back again: "
              "`faceops release rollback`")  # fmt: skip
    return 0


def _rollback(args: argparse.Namespace) -> int:
    from faceops.release.registry.rollback import rollback

    open_store()
    version, before = rollback(args.because.strip())
    if args.json:
        print(json.dumps(version.as_dict() | {"before": before}, indent=2))
        return 0
    since = f"; it was version {before}" if before else ""
    print(f"faceops version {version.version} is champion again{since}: {version.summary}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from faceops.release.registry.export_bundle import export_bundle
    from faceops.release.registry.versions import find_version

    open_store()
    version = find_version(args.version)
    folder = export_bundle(version, args.out)
    if args.json:
        print(json.dumps(version.as_dict() | {"folder": str(folder)}, indent=2))
        return 0
    print(f"faceops version {version.version} is in {folder}: --bundle {folder} uses it")
    return 0


def _check_threads(threads: int) -> None:
    from faceops.base.errors import UsageError

    if threads < 1:
        raise UsageError(f"--threads {threads} is wrong: 1 or more.")
