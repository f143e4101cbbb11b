"""`faceops release`: register, compare, gate and promote releases in MLflow."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceops.registry.versions import VersionDetails


def add_show_parsers(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the actions to the parser of `faceops release`."""
    listing = actions.add_parser("list", help="list the registered releases, newest first")
    listing.add_argument("--json", action="store_true", help="print the versions as JSON")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="say what is known of a release, and who was champion")
    show.add_argument("version", nargs="?", default="champion", metavar="VERSION")
    show.add_argument("--json", action="store_true", help="print it as JSON, with all figures")
    show.set_defaults(run=_show)
    compare = actions.add_parser(
        "compare",
        help="say in what two releases differ: parameters, data, figures",
        description="What the registry has of both, at once. Each was measured on its own test "
        "people; `faceops release gate` measures both on the same photos.",
    )
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B")
    compare.add_argument("--json", action="store_true", help="print it as JSON")
    compare.set_defaults(run=_compare)


def open_store() -> None:
    """Point MLflow at the store that is meant here.

    Raises:
        FaceOpsError: there is none.
    """
    from faceops.base.errors import FaceOpsError
    from faceops.registry.store import has_store, point_at_store

    if not has_store(Path.cwd()):
        raise FaceOpsError(
            f"there is no MLflow store in {Path.cwd()}; run `dvc repro` and `faceops release "
            "register` there, or set MLFLOW_TRACKING_URI."
        )
    point_at_store(Path.cwd())


def _list(args: argparse.Namespace) -> int:
    from faceops.registry.store import has_store
    from faceops.registry.versions import versions

    rows = []
    if has_store(Path.cwd()):
        open_store()
        rows = versions()
    if args.json:
        print(json.dumps([row.as_dict() for row in rows], indent=2))
        return 0
    if not rows:
        print("no release yet; run `dvc repro`, then `faceops release register`")
    for row in rows:
        aliases = ",".join(row.aliases) or "-"
        gate = row.gate or "-"
        print(f"{row.version:>4}  {aliases:<12} {gate:<8} {row.contract_id[:12]}  {row.summary}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from faceops.registry.versions import champions, find_version, version_details

    open_store()
    told = version_details(find_version(args.version))
    events = [event for event in champions() if event.version == told.version.version]
    if args.json:
        log = [vars(event) for event in events]
        print(json.dumps(told.as_dict() | {"champion_log": log}, indent=2, ensure_ascii=False))
        return 0
    version = told.version
    held = f" ({', '.join(version.aliases)})" if version.aliases else ""
    print(f"{version.address}{held}, run {version.run_id or 'none'}\n")
    print(told.description.strip() or "no description")
    if events:
        print("\n## As champion\n")
        for event in events:
            print(f"- {event.at} {event.how} by {event.by}: {event.because}")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from faceops.registry.versions import differing, find_version, version_details

    open_store()
    a, b = (version_details(find_version(which)) for which in (args.a, args.b))
    params = differing(a.params, b.params)
    lineage = differing(*(_lineage(one) for one in (a, b)))
    figures = {key: (evaluated(a.metrics).get(key), evaluated(b.metrics).get(key))
               for key in sorted(evaluated(a.metrics) | evaluated(b.metrics))}  # fmt: skip
    if args.json:
        both = {"a": a.version.as_dict(), "b": b.version.as_dict()}
        differ = {"params": params, "lineage": lineage, "figures": figures}
        print(json.dumps(both | differ, indent=2))
        return 0
    print(f"| | version {a.version.version} | version {b.version.version} |\n| --- | --- | --- |")
    for title, rows in (("lineage", lineage), ("parameters", params)):
        if not rows:
            print(f"| {title}: all the same | | |")
        for key, (before, after) in rows.items():
            print(f"| {key} | {_short(before)} | {_short(after)} |")
    for key, (one, other) in figures.items():
        if one != other:
            print(f"| {key} | {_number(one)} | {_number(other)} |")
    print(
        "\nEach on its own test people. On the same photos, of people whom neither has seen: "
        f"faceops release gate {b.version.version} --against {a.version.version}"
    )
    return 0


def _lineage(told: "VersionDetails") -> dict[str, str]:
    names = ("contract_id", "git_commit", "dvc_lock_sha256")
    return {name: told.tags.get(name, "") for name in names}


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:12]}..."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


PARAMS = Path("params.yaml")


def add_move_parsers(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    from faceops.config.params_file import read_params
    from faceops.gate.promote import gate_release
    from faceops.registry.versions import find_version

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
    from faceops.config.params_file import read_params
    from faceops.config.sections import Gate
    from faceops.gate.promote import promote
    from faceops.registry.versions import find_version

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
    from faceops.registry.champion import rollback

    open_store()
    version, before = rollback(args.because.strip())
    if args.json:
        print(json.dumps(version.as_dict() | {"before": before}, indent=2))
        return 0
    since = f"; it was version {before}" if before else ""
    print(f"faceops version {version.version} is champion again{since}: {version.summary}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from faceops.registry.register import export_bundle
    from faceops.registry.versions import find_version

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
    add_show_parsers(actions)
    add_move_parsers(actions)


def _register(args: argparse.Namespace) -> int:
    from faceops.registry.record_run import register_last_run

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
