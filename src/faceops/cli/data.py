"""`faceops data`: make synthetic people, import photos, doubt their labels."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.cli.bundle_argument import add_bundle_arguments, load_bundle

if TYPE_CHECKING:
    from faceops.evaluation.label_doctor.diagnose import Suspicion


NEXT = "next: dvc add {data} && dvc repro"


SHARE = 0.01  # as in the room; a test holds the two together
LISTED = 10
_FILE = "suspicions.csv"

DESCRIPTION = """
List photos whose label is probably wrong: photos unlike the others of their person, one person
under two names, two people under one name; the strongest first, in DIR/suspicions.csv, with
contact sheets. Look, write yes or no into the column verdict, then give the file to --confirm:
the photos with yes go into quarantine.csv of the data folder, and `dvc repro` sets them aside.
For one person under two names it is better to move the photos into one folder and to leave the
verdict empty. Twins look like one person.
"""


def add_doctor(actions: Any) -> None:
    """Add `doctor` to the actions of `faceops data`."""
    parser = actions.add_parser(
        "doctor", help="list labels that are probably wrong", description=DESCRIPTION
    )
    add_bundle_arguments(parser)
    for name, default, what in (
        ("data", "data", "the data folder"),
        ("crops", "build/crop", "output of the crop stage"),
        ("out", "build/doctor", "where the list and the contact sheets go"),
    ):
        parser.add_argument(
            f"--{name}",
            type=Path,
            default=Path(default),
            metavar="DIR",
            help=f"{what} (default: {default})",
        )
    parser.add_argument(
        "--share",
        type=float,
        default=SHARE,
        metavar="S",
        help="share of the labels to assume wrong; more lists more (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime [%(default)s]")
    parser.add_argument(
        "--confirm",
        type=Path,
        metavar="FILE",
        help="set aside the photos of this suspicions.csv whose verdict is yes",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=run_doctor)


def run_doctor(args: argparse.Namespace) -> int:
    """List the suspicions, or take a person's verdicts on them."""
    return _confirm(args) if args.confirm else _diagnose(args)


def _diagnose(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError
    from faceops.base.files import write_json
    from faceops.evaluation.embedded_faces import EmbeddedFaces
    from faceops.evaluation.label_doctor.calibration import calibrate_on_doubtful
    from faceops.evaluation.label_doctor.compare import read_cropped_photos
    from faceops.evaluation.label_doctor.diagnose import check_share, diagnose
    from faceops.evaluation.label_doctor.findings import write_findings
    from faceops.release.embeddings import embed_crops_file
    from faceops.release.verifier_graph import pair_verifier

    check_share(args.share)
    if args.threads < 1:
        raise UsageError(f"--threads {args.threads} is wrong: 1 or more.")
    photos = read_cropped_photos(args.crops)
    bundle = load_bundle(args, threads=args.threads)
    verifier = pair_verifier(bundle)
    embeddings = embed_crops_file(bundle, args.crops / "crops.npy", args.out)
    faces = EmbeddedFaces(embeddings, photos.persons, photos.paths, photos.crops)
    # The bundle's calibration may have believed the very labels that are in doubt here.
    tolerant = calibrate_on_doubtful(embeddings, faces.persons, verifier)
    judge = tolerant.verifier if tolerant else verifier
    found = diagnose(embeddings, faces.persons, judge, args.share)
    figures = write_findings(found, faces, args.data, args.out)
    figures |= {
        "share_assumed": args.share,
        "contract_id": bundle.release.contract_id,
        "verifier": verifier.kind,
        "calibrated_on": "these photos" if tolerant else bundle.release.thresholds.data,
        "pairs_of_one_name_wrong": round(tolerant.wrong_pairs, 6) if tolerant else None,
    }
    write_json(args.out / "summary.json", figures)
    if args.json:
        print(json.dumps(figures, indent=2, sort_keys=True))
        return 0
    _tell(args, found, figures)
    return 0


def _tell(args: argparse.Namespace, found: "list[Suspicion]", figures: dict[str, Any]) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(figures["kinds"].items()))
    print(
        f"{figures['photos']} photos of {figures['people']} people: "
        + (f"{len(found)} suspicion{'s'[: len(found) > 1]} ({kinds})" if found else "no suspicion")
    )
    if (wrong := figures["pairs_of_one_name_wrong"]) is not None:
        print(f"of the pairs of photos of one name {wrong:.1%} look like two people")
    if not found:
        return
    for rank, doubt in enumerate(found[:LISTED], start=1):
        perhaps = f", perhaps {doubt.suggestion}" if doubt.suggestion else ""
        print(_line(f"{rank:>4}  {doubt.score:5.1f}  {doubt.kind}: {doubt.person}{perhaps}"))
        print(_line(f"             {doubt.evidence}"))
    if len(found) > LISTED:
        print(f"      ... and {len(found) - LISTED} more")
    print(f"look at {args.out}/suspicions-*.png, write yes or no as verdicts in {args.out / _FILE}")
    print(f"next: faceops data doctor --confirm {args.out / _FILE}")


def _line(text: str) -> str:
    """Return `text` on one line, whatever names hold: escapes for what cannot be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _confirm(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError
    from faceops.base.locks import file_lock
    from faceops.dataset.quarantine import QUARANTINE_FILE, add_to_quarantine
    from faceops.evaluation.label_doctor.findings import confirmed_photos, read_verdicts

    if not args.data.is_dir():
        raise UsageError(f"{args.data} is not a folder; name the data folder by --data.")
    rows = read_verdicts(args.confirm)
    reasons = confirmed_photos(rows, args.confirm, args.data)
    file = args.data / QUARANTINE_FILE
    with file_lock(args.data, f"{args.data} is in use"):
        added = add_to_quarantine(file, reasons)
    open_rows = sum(row.verdict == "" for row in rows)
    figures = {"confirmed": len(reasons), "added": added, "without_verdict": open_rows}
    if args.json:
        print(json.dumps({"quarantine": str(file), **figures}, indent=2))
        return 0
    print(
        f"{file}: {added} photos added, {len(reasons) - added} were there; "
        f"{open_rows} rows have no verdict yet"
    )
    if added:
        print(NEXT.format(data=args.data))
    return 0


def run_synthetic(args: argparse.Namespace) -> int:
    """Make the synthetic set; a second run does nothing."""
    from faceops.dataset.synthetic.make import make_synthetic
    from faceops.dataset.synthetic.settings import SyntheticSettings
    from faceops.weights.fetch import weight_path

    settings = SyntheticSettings(
        people=args.people,
        photos=args.photos,
        seed=args.seed,
        gallery=args.gallery,
        strangers=args.strangers,
        scenes=args.scenes,
    )
    counts = make_synthetic(args.out, settings, weight_path("synthetic_people"))
    if args.json:
        print(json.dumps({"data": str(args.out), **counts}, indent=2))
        return 0
    print(
        f"{args.out}: {counts['photos']} photos of {counts['people']} synthetic people, "
        f"{counts['enrol_photos']} to enrol, an album of {counts['album_photos']} files; "
        f"{counts['written']} files written, the others were there"
    )
    print(NEXT.format(data=args.out))
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Import photos from a folder, an archive or a URL."""
    from faceops.dataset.importer import import_photos

    counts = import_photos(
        args.source, args.place, args.out, limit_people=args.limit_people, only_list=args.only_list
    )
    if args.json:
        print(json.dumps({"data": str(args.out), "source": args.source, **counts}, indent=2))
        return 0
    print(
        f"{args.out}: {counts['photos']} photos of {counts['people']} people from {args.source}; "
        f"{counts['written']} files written, the others were there"
    )
    print(NEXT.format(data=args.out))
    return 0


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return value


def add_parser(subparsers: Any) -> None:
    """Add `faceops data` with its subcommands."""
    parser = subparsers.add_parser(
        "data", help="make synthetic people, import photos, check labels"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    making = actions.add_parser(
        "synthetic",
        help="draw people who do not exist, people to enrol, and an album to identify them in",
        description="Draw a data set of people who do not exist. Its bytes depend on the options "
        "only, not on the machine. What is there already is kept.",
    )
    for name, default, what in (
        ("people", 520, "people to train, calibrate and test on"),
        ("photos", 5, "photos of each of them"),
        ("seed", 7, "seed of all that is drawn"),
        ("gallery", 20, "people to enrol, in no training"),
        ("strangers", 30, "people who are in the album only"),
        ("scenes", 60, "scenes in the album"),
    ):
        making.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default {default})"
        )
    making.set_defaults(run=run_synthetic)

    importing = actions.add_parser(
        "import",
        help="import labelled photos",
        description="Import labelled photos as data/photos/<Person>/<file>, byte for byte. "
        "Sources: tree (person/photo folders), lfw (folder, tgz or URL; its lists beside it), "
        "pins (pins_Name folders), kaggle-faces (Name_N.jpg files), celeba (images and "
        "identity_CelebA.txt), mnist (the IDX files).",
    )
    importing.add_argument(
        "source",
        metavar="SOURCE",
        help="kind of source, such as tree; an unknown one is refused with the list",
    )
    importing.add_argument(
        "place", metavar="PATH_OR_URL", help="folder, archive (tar, tgz, zip) or http(s) URL of one"
    )
    importing.add_argument(
        "--limit-people", type=_positive, metavar="N", help="the first N people only, by name"
    )
    importing.add_argument(
        "--only-list",
        type=Path,
        metavar="FILE",
        help="only the people named in FILE, one a line (LFW's lists too)",
    )
    importing.set_defaults(run=run_import)

    for action in (making, importing):
        action.add_argument(
            "--out", type=Path, default=Path("data"), metavar="DIR", help="default: data"
        )
        action.add_argument("--json", action="store_true", help="print JSON for programs")
    add_doctor(actions)
