"""`faceops people`: who is enrolled in a gallery, and removing a person from it."""

import argparse
import json
from collections import Counter
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser("people", help="list enrolled people, forget one")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the enrolled people with their faces")
    forgetting = actions.add_parser("forget", help="remove a person's faces from the gallery")
    forgetting.add_argument("name", metavar="NAME", help="in any spelling: Ann_Lee is ann-lee")
    for action, run in ((listing, _list), (forgetting, _forget)):
        action.add_argument(
            "--gallery",
            type=Path,
            default=Path("gallery"),
            metavar="DIR",
            help="(default: gallery)",
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=run)


def _list(args: argparse.Namespace) -> int:
    from faceops.gallery.store import Gallery

    gallery = Gallery.open(args.gallery)
    counts = dict(sorted(Counter(gallery.persons).items()))
    if args.json:
        people = [{"person": person, "faces": faces} for person, faces in counts.items()]
        content = {"contract_id": gallery.contract_id, "people": people}
        print(json.dumps(content, ensure_ascii=False))
        return 0
    for person, faces in counts.items():
        print(f"{faces:>4}  {person}")
    print(f"{len(counts)} people, {len(gallery.faces)} faces in {args.gallery}")
    return 0


# What removing from the gallery does not reach.
NOT_COVERED = (
    "output folders of `faceops identify`: its records and reports name the person, and "
    "state.sqlite holds embeddings of every face found",
    "the folder that the person was enrolled from: enrolling it again brings the person back",
    "models trained on the person's photos",
)


def _forget(args: argparse.Namespace) -> int:
    from faceops.gallery.forget import forget

    removed = forget(args.gallery, args.name)
    if args.json:
        content = {"person": args.name, "faces_removed": removed, "not_covered": NOT_COVERED}
        print(json.dumps(content, ensure_ascii=False))
        return 0
    print(f"removed {args.name} from {args.gallery}: {removed} faces with crops and embeddings")
    print("not covered:")
    for place in NOT_COVERED:
        print(f"  - {place}")
    return 0
