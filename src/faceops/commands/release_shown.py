"""`faceops release list`, `show` and `compare`: what the registry holds."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceops.release.registry.told_version import ToldVersion


def add_parsers(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    from faceops.release.registry.store import has_store
    from faceops.release.registry.tracking import point_at_store

    if not has_store(Path.cwd()):
        raise FaceOpsError(
            f"there is no MLflow store in {Path.cwd()}; run `dvc repro` and `faceops release "
            "register` there, or set MLFLOW_TRACKING_URI."
        )
    point_at_store(Path.cwd())


def _list(args: argparse.Namespace) -> int:
    from faceops.release.registry.store import has_store
    from faceops.release.registry.versions import versions

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
    from faceops.release.registry.champions import champions
    from faceops.release.registry.told_version import tell
    from faceops.release.registry.versions import find_version

    open_store()
    told = tell(find_version(args.version))
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
    from faceops.release.registry.told_version import differing, evaluated, tell
    from faceops.release.registry.versions import find_version

    open_store()
    a, b = (tell(find_version(which)) for which in (args.a, args.b))
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


def _lineage(told: "ToldVersion") -> dict[str, str]:
    names = ("contract_id", "git_commit", "dvc_lock_sha256")
    return {name: told.tags.get(name, "") for name in names}


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:12]}..."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
