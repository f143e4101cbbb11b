"""`faceops release`: register, compare, gate and promote releases in MLflow."""

import argparse
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import PARAMS, add_command, add_folder, add_group, add_threads, show
from faceops.photos.folders import BUNDLE, Use
from faceops.registry import FILES, PUBLISHED, has_store, published_statement
from faceops.release import release_file


def add_parser(subparsers: Any) -> None:
    actions = add_group(
        subparsers,
        "release",
        help="register, compare, gate, promote and roll back releases in MLflow",
        description="Releases are versions of the registered model `faceops` in MLflow. VERSION is "
        "a number, or an alias: champion, challenger.",
    )
    registering = add_command(actions, _register)
    text = "sign the bundle with this private key, a PEM file (default: $FACEOPS_SIGN_KEY)"
    registering.add_argument("--sign-key", type=Path, metavar="PEM", help=text)
    add_command(actions, _list)
    showing = add_command(actions, _show)
    comparing = add_command(actions, _compare)
    comparing.add_argument("a", metavar="A")
    comparing.add_argument("b", metavar="B")
    gate = add_command(actions, _gate)
    promote = add_command(actions, _promote)
    add_command(actions, _publish)
    rollback = add_command(actions, _rollback)
    rollback.add_argument("--because", default="", metavar="REASON", help="kept in the log")
    export = add_command(actions, _export)
    for action, alias in (
        *((showing, "champion"), (gate, "challenger")),
        *((promote, "challenger"), (export, "champion")),
    ):
        action.add_argument("version", nargs="?", default=alias, metavar="VERSION")
    text = "a version, or published (default: the champion, else published)"
    gate.add_argument("--against", metavar="VERSION", help=text)
    text = "promote without the gate; the reason is kept"
    promote.add_argument("--override", metavar="REASON", help=text)
    add_threads(gate)
    add_threads(promote)
    add_folder(export, "--out", BUNDLE, Use.WRITE, required=True, help="a new folder")
    keys: tuple[dict[str, Any], ...] = (
        {"help": "private key (default: $FACEOPS_SIGN_KEY)"},
        {
            "help": "public key or root certificate, repeatable (default: $FACEOPS_TRUSTED_KEYS)",
            "action": "append",
        },
    )
    for run, settings in zip((_sign, _verify), keys, strict=True):
        action = add_command(actions, run)
        add_folder(action, "bundle", BUNDLE, metavar="BUNDLE", help="the bundle's folder")
        action.add_argument("--key", type=Path, metavar="PEM", **settings)


def _open_store() -> None:
    from faceops.registry.store import point_at_store

    if not has_store(Path.cwd()):
        raise FaceOpsError(
            f"there is no MLflow store in {Path.cwd()}; run `dvc repro` and `faceops release "
            "register` there, or set MLFLOW_TRACKING_URI."
        )
    point_at_store(Path.cwd())


def _register(args: argparse.Namespace) -> int:
    """Log the last `dvc repro` to MLflow and register its bundle."""
    from faceops.registry.register import register_last_run

    sign_key = args.sign_key or release_file.signing_key()
    version, is_new = register_last_run(Path.cwd(), sign_key=sign_key)
    aliases = f", {' and '.join(version.aliases)}" if version.aliases else ""
    done = "registered" if is_new else "nothing has changed since"
    lines = [
        f"{done} faceops version {version.version}{aliases}: {version.summary}",
        "look at it: make mlflow, then choose Model registry > faceops in the browser",
    ]
    if is_new:
        gate = f"promote {version.version}, which runs the gate first"
        if "champion" in version.aliases:
            gate = (
                f"gate {version.version} --against {PUBLISHED}, the release that needs no rebuild"
            )
        lines.append(f"next: faceops release {gate}")
    return show(args, version.as_dict() | {"new": is_new}, lines)


def _list(args: argparse.Namespace) -> int:
    """List the registered releases, newest first."""
    rows = []
    if has_store(Path.cwd()):
        from faceops.registry.store import point_at_store, versions

        point_at_store(Path.cwd())
        rows = versions()
    lines = [
        f"{row.version:>4}  {','.join(row.aliases) or '-':<12} {row.gate or '-':<8} "
        f"{row.contract_id[:12]}  {row.summary}"
        for row in rows
    ]
    none = "no release yet; run `dvc repro`, then `faceops release register`"
    return show(args, [row.as_dict() for row in rows], lines or none)


def _show(args: argparse.Namespace) -> int:
    """Show a release, its figures and when it was champion.

    Of the folder of a bundle, show licence, source and sha256 of its models, and the metadata
    inside the ONNX files; of `published` the model card.
    """
    if (Path(args.version) / release_file.RELEASE_FILE).is_file():
        return _show_bundle(args, Path(args.version))
    if args.version == PUBLISHED:
        return show(args, published_statement(), (FILES / "model_card.md").read_text("utf-8"))
    from faceops.registry.champion import champions
    from faceops.registry.store import find_version, version_details

    _open_store()
    details = version_details(find_version(args.version))
    version = details.version
    events = [event for event in champions() if event.version == version.version]
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    lines = [
        f"{version.address}{aliases}, run {version.run_id or 'none'}\n",
        details.description.strip() or "no description",
    ]
    if events:
        lines.append("\n## As champion\n")
        lines += [f"- {event.at} {event.how} by {event.by}: {event.because}" for event in events]
    log = [vars(event) for event in events]
    return show(args, details.as_dict() | {"champion_log": log}, lines)


def _show_bundle(args: argparse.Namespace, folder: Path) -> int:
    from faceops.release.bundle import check_files
    from faceops.release.contract import read_metadata

    release = check_files(folder)
    weights = release.weights | ({release.int8.file: release.int8.weight} if release.int8 else {})
    files = {
        name: weight.model_dump() | {"metadata": read_metadata(folder / name)}
        for name, weight in weights.items()
    }
    signed = (folder / release_file.SIGNATURE_FILE).is_file()
    lines = [f"{folder}: contract {release.contract_id}, {'' if signed else 'not '}signed"]
    for name, entry in files.items():
        lines += [f"\n{name}: {entry['licence']}; {entry['source']}", f"  sha256 {entry['sha256']}"]
        lines += [f"  metadata {key}: {value}" for key, value in entry["metadata"].items()]
    content = {"bundle": str(folder), "contract_id": release.contract_id, "signed": signed}
    return show(args, content | {"files": files}, lines)


def _compare(args: argparse.Namespace) -> int:
    """Show the parameters, data and figures in which two releases differ.

    What the registry has of both. Each was measured on its own test people; `faceops release gate`
    measures both on the same photos.
    """
    from faceops.registry.store import differing, find_version, version_details

    _open_store()
    a, b = (version_details(find_version(which)) for which in (args.a, args.b))
    params = differing(a.params, b.params)
    names = ("contract_id", "git_commit", "dvc_lock_sha256")
    lineage = differing(*({name: it.tags.get(name, "") for name in names} for it in (a, b)))
    before, after = a.test_figures(), b.test_figures()
    figures = {key: (before.get(key), after.get(key)) for key in sorted(before | after)}
    numbers = a.version.version, b.version.version
    lines = [f"| | version {numbers[0]} | version {numbers[1]} |", "| --- | --- | --- |"]
    for title, rows in (("lineage", lineage), ("parameters", params)):
        if not rows:
            lines.append(f"| {title}: all the same | | |")
        lines += [f"| {key} | {_short(one)} | {_short(two)} |" for key, (one, two) in rows.items()]
    lines += [
        f"| {key} | {_number(one)} | {_number(two)} |"
        for key, (one, two) in figures.items()
        if one != two
    ]
    lines.append(
        "\nEach on its own test people. On the same photos, of people that neither was trained on: "
        f"faceops release gate {numbers[1]} --against {numbers[0]}"
    )
    content = {"a": a.version.as_dict(), "b": b.version.as_dict()}
    return show(args, content | {"params": params, "lineage": lineage, "figures": figures}, lines)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:12]}..."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _gate(args: argparse.Namespace) -> int:
    """Compare a release with the champion, on photos of people that neither was trained on.

    Where no version is champion, or with --against published, it is compared with the published
    release. The rules are the section gate of params.yaml. The verdict goes to the version's page
    and run in MLflow, and to build/gate. Exit code 1 where it is refused.
    """
    from faceops.config.params_file import read_params
    from faceops.gate.promote import gate_release
    from faceops.registry.store import champion, find_version

    settings = read_params(PARAMS).gate
    _open_store()
    challenger, against = find_version(args.version), None
    if args.against != PUBLISHED:
        against = find_version(args.against) if args.against else champion()
    if against is not None and challenger.version == against.version:
        raise UsageError(f"version {against.version} cannot be compared with itself.")
    verdict = gate_release(challenger, against, Path.cwd(), settings, args.threads)
    show(args, verdict.as_dict(), verdict.markdown().rstrip())
    return 0 if verdict.passed else 1


def _promote(args: argparse.Namespace) -> int:
    """Make a release champion, if it passes the gate.

    A verdict against the present champion by the present rules is reused; else the gate measures
    first.
    """
    from faceops.config.params_file import read_params
    from faceops.config.sections import Gate
    from faceops.gate.promote import promote
    from faceops.registry.store import find_version

    override = (args.override or "").strip()
    if args.override is not None and not override:
        raise UsageError("--override needs a reason, which is kept with the release.")
    settings = Gate() if override else read_params(PARAMS).gate  # the rules do not apply then
    _open_store()
    done = promote(
        find_version(args.version), Path.cwd(), settings, override=override, threads=args.threads
    )
    over = f", over version {done.over}" if done.over else ""
    lines = [f"faceops version {done.version} is champion{over}: {done.message}"]
    if done.over:
        lines.append(
            "convert galleries of another contract id by `faceops people reembed`; to undo this: "
            "`faceops release rollback`"
        )
    return show(args, vars(done), lines)


def _publish(args: argparse.Namespace) -> int:
    """Write the package's files of the published release anew, from the last `dvc repro`.

    The release that needs no rebuild: SFace and dlib as published, calibrated by `faceops params
    use lfw_calibrated` and `dvc repro` on LFW. Commit the files that it writes.
    """
    from faceops.registry.published.write import write_published

    release = write_published(Path.cwd())
    line = f"the published release is in {FILES}: contract {release.contract_id}; commit the files"
    content = {"folder": str(FILES), "contract_id": release.contract_id}
    return show(args, content | {"data": release.thresholds.data}, line)


def _rollback(args: argparse.Namespace) -> int:
    """Make the previous champion champion again."""
    from faceops.registry.champion import rollback

    _open_store()
    version, before = rollback(args.because.strip())
    replaced = f"; it was version {before}" if before else ""
    line = f"faceops version {version.version} is champion again{replaced}: {version.summary}"
    return show(args, version.as_dict() | {"before": before}, line)


def _export(args: argparse.Namespace) -> int:
    """Write a release's bundle to a folder."""
    from faceops.registry.fetch import export_bundle
    from faceops.registry.store import find_version

    _open_store()
    version = find_version(args.version)
    folder = export_bundle(version, args.out)
    line = f"faceops version {version.version} is in {folder}: --bundle {folder} uses it"
    return show(args, version.as_dict() | {"folder": str(folder)}, line)


def _sign(args: argparse.Namespace) -> int:
    """Sign a bundle's folder.

    It gets the file model.sig. Sign releases when they are registered (--sign-key): a registered
    bundle is not changed.
    """
    from faceops.release.bundle import check_files

    if (key := args.key or release_file.signing_key()) is None:
        raise UsageError("no key is named to sign with; give --key PEM.")
    check_files(args.bundle)
    signed_by = release_file.sign(args.bundle, key)
    line = f"{args.bundle} is signed; the sha256 of the public key is {signed_by}"
    return show(args, {"bundle": str(args.bundle), "signed_by": signed_by}, line)


def _verify(args: argparse.Namespace) -> int:
    """Check a bundle's files and its signature.

    Every file must be one that a trusted key has signed. Exit code 1 where it is not.
    """
    from faceops.release.bundle import check_files

    if not (keys := args.key or release_file.trusted_keys()):
        raise UsageError("no key is named to verify with; give --key PEM.")
    key = release_file.verify(args.bundle, keys)
    contract_id = check_files(args.bundle).contract_id
    line = f"{args.bundle} is as the owner of {key} signed it; contract {contract_id}"
    content = {"bundle": str(args.bundle), "key": str(key), "contract_id": contract_id}
    return show(args, content, line)
