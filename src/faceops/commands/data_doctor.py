"""`faceops data doctor`: labels that are probably wrong, and what a person makes of them."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.commands.bundle_argument import add_bundle_arguments, load_bundle
from faceops.commands.next_step import NEXT

if TYPE_CHECKING:
    from faceops.evaluation.label_doctor.suspicion import Suspicion

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
    from faceops.evaluation.label_doctor.cropped_photos import read_cropped_photos
    from faceops.evaluation.label_doctor.diagnose import check_share, diagnose
    from faceops.evaluation.label_doctor.findings import write_findings
    from faceops.evaluation.label_doctor.noise_tolerant_calibration import calibrate_on_doubtful
    from faceops.release.embed_crops import embed_crops
    from faceops.release.verifier_of_graph import pair_verifier

    check_share(args.share)
    if args.threads < 1:
        raise UsageError(f"--threads {args.threads} is wrong: 1 or more.")
    photos = read_cropped_photos(args.crops)
    bundle = load_bundle(args, threads=args.threads)
    verifier = pair_verifier(bundle)
    embeddings = embed_crops(bundle, args.crops / "crops.npy", args.out)
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
    from faceops.evaluation.label_doctor.confirmed import confirmed_photos
    from faceops.evaluation.label_doctor.suspicions_file import read_verdicts

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
