"""What `dvc repro` starts from: `faceops weights`, `faceops data`, and `faceops params`."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops import cli
from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.cli.model_choice import add_bundle_arguments, load_bundle
from faceops.dataset.sources import REVIEWED, SOURCES
from faceops.photos.folders import DATA_SET, EMBEDDINGS, GALLERY, SOURCE, SUSPICIONS, Use

if TYPE_CHECKING:
    from faceops.evaluation.label_doctor.diagnose import Suspicion

NEXT = "next: dvc add {data} && dvc repro"
SHARE = 0.01  # as in the label doctor; a test compares the two
LISTED = 10
_FILE = "suspicions.csv"


def add_parser(subparsers: Any) -> None:
    actions = cli.add_group(
        subparsers,
        "weights",
        help="list and fetch the outside weights, with their licences",
        description="The outside weights of weights.toml. FACEOPS_WEIGHTS names a folder of your "
        "own with such files; fetched ones are kept in FACEOPS_CACHE (default: ~/.cache/faceops).",
    )
    text = "a weight, as `list` names it"
    cli.add_command(actions, _list)
    cli.add_command(actions, _fetch).add_argument("names", nargs="*", metavar="NAME", help=text)
    cli.add_command(actions, _path).add_argument("name", metavar="NAME", help=text)
    text = "make synthetic people, import photos, check labels"
    actions = cli.add_group(subparsers, "data", help=text)
    making = cli.add_command(actions, _synthetic)
    for name, default, what in (
        ("people", 520, "people to train, calibrate and test on"),
        ("photos", 5, "photos of each of them"),
        ("seed", 7, "seed of all that is drawn"),
        ("gallery", 20, "people to enrol, in no training"),
        ("strangers", 30, "people who are in the album only"),
        ("scenes", 60, "scenes in the album"),
    ):
        text = f"{what} (default: {default})"
        making.add_argument(f"--{name}", type=int, default=default, metavar="N", help=text)
    importing = cli.add_command(
        actions,
        _import,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Import labelled photos as data/photos/<Person>/<file>, byte for byte.\n\n"
        "sources and the files that they expect:\n"
        + "\n".join(f"  {name:14}{source.layout}" for name, source in SOURCES.items())
        + f"\n  {REVIEWED:14}what was decided about faces in --gallery; it has no PATH_OR_URL",
    )
    sources = f"kind of source: {', '.join((*SOURCES, REVIEWED))}"
    importing.add_argument("source", metavar="SOURCE", help=sources)
    text = "folder, archive (tar, tgz, zip) or http(s) URL of one"
    names: dict[str, Any] = {"metavar": "PATH_OR_URL", "nargs": "?"}
    cli.add_folder(importing, "place", SOURCE, type=str, help=text, **names)
    text = "the first N people only, by name"
    importing.add_argument("--limit-people", type=cli.positive, metavar="N", help=text)
    text = "only the people named in FILE, one a line (LFW's lists too)"
    importing.add_argument("--only-list", type=Path, metavar="FILE", help=text)
    cli.add_exclude(importing)
    text = f"{REVIEWED}: the gallery whose decisions to import"
    cli.add_folder(importing, "--gallery", GALLERY, help=text)
    add_bundle_arguments(importing)
    cli.add_threads(importing)
    for action in (making, importing):
        cli.add_folder(action, "--out", DATA_SET, Use.WRITE, default="data")
    doctor = cli.add_command(actions, _doctor)
    add_bundle_arguments(doctor)
    cli.add_folder(doctor, "--data", DATA_SET, default="data", help="the data folder")
    text = "output of the crop stage"
    cli.add_folder(doctor, "--crops", EMBEDDINGS, default="build/crop", help=text)
    text = "where the list and the contact sheets go"
    cli.add_folder(doctor, "--out", SUSPICIONS, Use.WRITE, default="build/doctor", help=text)
    text = "share of the labels to assume wrong; more lists more (default: %(default)s)"
    doctor.add_argument("--share", type=float, default=SHARE, metavar="S", help=text)
    cli.add_threads(doctor)
    text = "set aside the photos of this suspicions.csv whose verdict is yes"
    doctor.add_argument("--confirm", type=Path, metavar="FILE", help=text)
    actions = cli.add_group(subparsers, "params", help="choose the pipeline's configuration")
    text = "a name in experiments/, or a YAML file of overrides"
    cli.add_command(actions, _use).add_argument("experiment", help=text)
    cli.add_command(actions, _show)


def _list(args: argparse.Namespace) -> int:
    """Name, licence, terms, and the path of its file."""
    from faceops.weights import find_local, read_catalogue, weights_cache, weights_folder

    own, cache = weights_folder(), weights_cache()
    rows: list[dict[str, Any]] = []
    lines = []
    for weight in read_catalogue().values():
        row: dict[str, Any] = weight.model_dump() | {"found": "not yet fetched", "path": None}
        try:
            if path := find_local(weight, own, cache):
                found = "folder" if path.parent == own else "cache"
                row |= {"found": found, "path": str(path)}
        except FaceOpsError as error:  # a file has the name of a weight, but another sha256
            row |= {"found": "refused", "error": str(error)}
        rows.append(row)
        lines += [
            f"{row['name']}: {row['what']} ({row['size'] / 1e6:.1f} MB)",
            f"  licence: {row['licence']}",
            f"  terms:   {row['terms']}",
            f"  found:   {row['found']}{' ' + row['path'] if row['path'] else ''}",
        ]
        if "error" in row:
            lines.append(f"  error:   {row['error']}")
    cli.show(args, rows, lines)
    return int(any("error" in row for row in rows))


def _fetch(args: argparse.Namespace) -> int:
    """Bring weights onto this machine (default: all)."""
    from faceops.weights import find_entry, read_catalogue, weight_path

    catalogue = read_catalogue()
    names = args.names or list(catalogue)
    for name in names:
        find_entry(name, catalogue)  # refuse a misspelt name before anything is fetched
    paths = {name: str(weight_path(name)) for name in names}
    return cli.show(args, paths, [f"{name}: {path}" for name, path in paths.items()])


def _path(args: argparse.Namespace) -> int:
    """Print the path of one weight, fetched if need be."""
    from faceops.weights import weight_path

    path = str(weight_path(args.name))
    return cli.show(args, {args.name: path}, path)


def _synthetic(args: argparse.Namespace) -> int:
    """Draw people who do not exist, people to enrol, and an album to identify them in.

    Draw a data set of people who do not exist. Its bytes depend on the options only, not on the
    machine. Existing files are kept.
    """
    from faceops.dataset.synthetic.make import make_synthetic
    from faceops.dataset.synthetic.people import SyntheticSettings
    from faceops.weights import weight_path

    fields = SyntheticSettings.__dataclass_fields__
    settings = SyntheticSettings(**{k: v for k, v in vars(args).items() if k in fields})
    counts = make_synthetic(args.out, settings, weight_path("synthetic_people"))
    lines = [
        f"{args.out}: {counts['photos']} photos of {counts['people']} synthetic people, "
        f"{counts['enrol_photos']} to enrol, an album of {counts['album_photos']} files; "
        f"{counts['written']} files written, the others existed",
        NEXT.format(data=args.out),
    ]
    return cli.show(args, {"data": str(args.out), **counts}, lines)


def _import(args: argparse.Namespace) -> int:
    """Import labelled photos."""
    from faceops.dataset.importer import import_photos

    if args.source == REVIEWED:
        return _import_reviewed(args)
    if args.place is None or args.gallery is not None:
        raise UsageError(
            f"the source {args.source} needs PATH_OR_URL and no --gallery; `faceops data import "
            f"{REVIEWED} --gallery DIR` imports reviewed faces."
        )
    skipped: dict[Path, str] = {}
    counts = import_photos(
        args.source, args.place, args.out, args.limit_people, args.only_list, args.exclude, skipped
    )
    lines = [
        *cli.skipped_line(Counter(skipped.values())),
        f"{args.out}: {counts['photos']} photos of {counts['people']} people from {args.source}; "
        f"{counts['written']} files written, the others existed",
        NEXT.format(data=args.out),
    ]
    return cli.show(args, {"data": str(args.out), "source": args.source, **counts}, lines)


def _import_reviewed(args: argparse.Namespace) -> int:
    from faceops.gallery.store import Gallery
    from faceops.review.training_data import import_reviewed

    if args.gallery is None or args.place is not None or args.only_list or args.limit_people:
        raise UsageError(
            f"the source {REVIEWED} takes all decisions of the gallery that --gallery names, and "
            "no PATH_OR_URL, --only-list or --limit-people."
        )
    gallery = Gallery.open(args.gallery)
    bundle = load_bundle(args, gallery)
    gallery.require(bundle.release.contract_id)
    done = import_reviewed(args.gallery, args.out, bundle, args.threads)
    left_out = {why: count for why, count in sorted(done.left_out.items()) if count}
    content = {"data": str(args.out), "source": REVIEWED, **vars(done), "left_out": left_out}
    lines = [
        f"{args.out}: {done.photos} confirmed faces of {done.people} people and {done.strangers} "
        f"ignored strangers; {done.written} crops written, {done.removed} removed, the others "
        "existed"
    ]
    if done.hard_negatives:
        lines.append(f"{done.hard_negatives} pairs of people of whom one was taken for the other")
    if left_out:
        reasons = (f"{count} {why}" for why, count in left_out.items())
        lines.append(f"faces left out: {'; '.join(reasons)}")
    return cli.show(args, content, [*lines, NEXT.format(data=args.out)])


def _doctor(args: argparse.Namespace) -> int:
    """List labels that are probably wrong.

    List photos whose label is probably wrong: photos unlike the others of their person, one person
    under two names, two people under one name; the strongest first, in DIR/suspicions.csv, with
    contact sheets. Look, write yes or no into the column verdict, then give the file to --confirm:
    the photos with yes go into quarantine.csv of the data folder, and `dvc repro` sets them aside.
    For one person under two names it is better to move the photos into one folder and to leave the
    verdict empty. Twins look like one person.
    """
    if args.confirm:
        return _confirm(args)
    from faceops.base.files import write_json
    from faceops.evaluation.label_doctor.compare import calibrate_with_label_noise
    from faceops.evaluation.label_doctor.diagnose import check_share, diagnose
    from faceops.evaluation.label_doctor.findings import read_cropped_photos, write_findings
    from faceops.release.bundle import embed_crops_file
    from faceops.release.export import pair_verifier
    from faceops.verification.embedded_faces import EmbeddedFaces

    check_share(args.share)
    crops, persons, paths = read_cropped_photos(args.crops)
    bundle = load_bundle(args, threads=args.threads)
    verifier = pair_verifier(bundle)
    embeddings = embed_crops_file(bundle, args.crops / "crops.npy", args.out)
    faces = EmbeddedFaces(embeddings, persons, paths, crops)
    # The bundle may have been calibrated on the labels that are checked here.
    calibrated, wrong = calibrate_with_label_noise(embeddings, faces.persons, verifier)
    found = diagnose(embeddings, faces.persons, calibrated, args.share)
    figures = write_findings(found, faces, args.data, args.out)
    figures |= {
        "share_assumed": args.share,
        "contract_id": bundle.release.contract_id,
        "verifier": verifier.kind,
        "calibrated_on": bundle.release.thresholds.data if wrong is None else "these photos",
        "pairs_of_one_name_wrong": None if wrong is None else round(wrong, 6),
    }
    write_json(args.out / "summary.json", figures)
    return cli.show(args, figures, _doctor_lines(args.out, found, figures))


def _doctor_lines(out: Path, found: "list[Suspicion]", figures: dict[str, Any]) -> list[str]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["kinds"].items()))
    lines = [
        f"{figures['photos']} photos of {figures['people']} people: "
        + (f"{len(found)} suspicion{'s'[: len(found) > 1]} ({kinds})" if found else "no suspicion")
    ]
    if (wrong := figures["pairs_of_one_name_wrong"]) is not None:
        lines.append(f"of the pairs of photos of one name {wrong:.1%} look like two people")
    if not found:
        return lines
    for rank, suspicion in enumerate(found[:LISTED], start=1):
        what = f"{suspicion.kind}: {suspicion.person}"
        what += f", perhaps {suspicion.suggestion}" if suspicion.suggestion else ""
        lines.append(printable(f"{rank:>4}  {suspicion.score:5.1f}  {what}"))
        lines.append(printable(f"             {suspicion.evidence}"))
    if len(found) > LISTED:
        lines.append(f"      ... and {len(found) - LISTED} more")
    return [
        *lines,
        f"look at {out}/suspicions-*.png, write yes or no as verdicts in {out / _FILE}",
        f"next: faceops data doctor --confirm {out / _FILE}",
    ]


def _confirm(args: argparse.Namespace) -> int:
    from faceops.base.files import file_lock
    from faceops.dataset.data_folder import QUARANTINE_FILE, add_to_quarantine
    from faceops.evaluation.label_doctor.findings import confirmed_photos, read_verdicts

    cli.require_folder(args.data, "name the data folder by --data")
    rows = read_verdicts(args.confirm)
    reasons = confirmed_photos(rows, args.confirm, args.data)
    file = args.data / QUARANTINE_FILE
    with file_lock(args.data, f"{args.data} is in use"):
        added = add_to_quarantine(file, reasons)
    open_rows = sum(row.verdict == "" for row in rows)
    figures = {"confirmed": len(reasons), "added": added, "without_verdict": open_rows}
    lines = [
        f"{file}: {added} photos added, {len(reasons) - added} were there; "
        f"{open_rows} rows have no verdict yet"
    ]
    if added:
        lines.append(NEXT.format(data=args.data))
    return cli.show(args, {"quarantine": str(file), **figures}, lines)


def _use(args: argparse.Namespace) -> int:
    """Write params.yaml: the defaults and one override file."""
    from faceops.config.params_file import experiment_file, read_params, write_params
    from faceops.embedding.backbones.build import check_train_params

    path = experiment_file(Path.cwd(), args.experiment)
    params = read_params(path)
    check_train_params(params.train, path)
    write_params(params, cli.PARAMS)
    line = f"{cli.PARAMS} now holds the defaults and {path}; `dvc repro` builds it."
    return cli.show(args, params.model_dump(by_alias=True), line)


def _show(args: argparse.Namespace) -> int:
    """Check params.yaml and print it."""
    from faceops.config.params_file import read_params
    from faceops.embedding.backbones.build import check_train_params

    params = read_params(cli.PARAMS)
    check_train_params(params.train, cli.PARAMS)
    text = cli.PARAMS.read_text(encoding="utf-8").rstrip("\n")
    return cli.show(args, params.model_dump(by_alias=True), text)
