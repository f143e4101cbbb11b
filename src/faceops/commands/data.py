"""`faceops data`: make synthetic people, import photos, doubt their labels."""

import argparse
import json
from pathlib import Path
from typing import Any

from faceops.commands.data_doctor import add_doctor
from faceops.commands.next_step import NEXT


def run_synthetic(args: argparse.Namespace) -> int:
    """Make the synthetic set; a second run does nothing."""
    from faceops.dataset.synthetic.make import make_synthetic
    from faceops.dataset.synthetic.settings import SyntheticSettings
    from faceops.weights.settings import weight_path

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
