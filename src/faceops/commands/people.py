"""`faceops people`: who is enrolled; rename, join, forget people, embed them anew."""

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from faceops.commands.bundle_argument import add_bundle_arguments, load_bundle
from faceops.commands.forget_person import run_forget, run_readmit

SPELLING = "in any spelling: Ann_Lee is ann-lee"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "people", help="list, show, rename, join, forget people, embed them anew"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the enrolled people with their faces")
    showing = actions.add_parser("show", help="show a person's faces, the odd ones first")
    showing.add_argument("name", metavar="NAME", help=SPELLING)
    renaming = actions.add_parser(
        "rename", help="give a person another name; enrolling the old name gives the new one"
    )
    renaming.add_argument("name", metavar="OLD", help=SPELLING)
    renaming.add_argument("new", metavar="NEW")
    merging = actions.add_parser("merge", help="make two enrolled people one")
    merging.add_argument("name", metavar="GONE", help=SPELLING)
    merging.add_argument("new", metavar="KEPT", help="whose name both have afterwards")
    unaliasing = actions.add_parser(
        "unalias",
        help="let a person's earlier name go: enrolling it gives somebody else from then on",
        description="After `rename` or `merge` the earlier name stands for the same person. This "
        "ends that, for another person of that name. The faces stay where they are.",
    )
    unaliasing.add_argument("name", metavar="NAME", help=SPELLING)
    forgetting = actions.add_parser(
        "forget",
        help="remove a person from the gallery and from all results, and search for what is left",
    )
    forgetting.add_argument("name", metavar="NAME", help=SPELLING)
    forgetting.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a further output folder of identify; those named from this gallery are known",
    )
    forgetting.add_argument(
        "--gone",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="state that a folder of results, or of photos with sidecars, is gone for good",
    )
    embedding = actions.add_parser(
        "reembed",
        help="bring the gallery under another release, without photos",
        description="Embed the gallery's stored faces with another release, so that nobody need be "
        "enrolled anew. It takes a release whose detector, landmarks and alignment are those of "
        "the one that the gallery was enrolled with.",
    )
    add_bundle_arguments(embedding)
    readmitting = actions.add_parser(
        "readmit",
        help="take back that faces were forgotten, for a person who is enrolled again",
        description="Forgotten faces stay without a name, whoever is enrolled. Give the mark that "
        "forget printed, and the next identify opens their photos again and names them.",
    )
    readmitting.add_argument("mark", metavar="MARK", help="as forget printed it")
    readmitting.add_argument(
        "--out", type=Path, action="append", default=[], metavar="DIR", help="as of forget"
    )
    for action, run in (
        (listing, _list),
        (showing, _show),
        (renaming, _rename),
        (merging, _merge),
        (unaliasing, _unalias),
        (forgetting, run_forget),
        (readmitting, run_readmit),
        (embedding, _reembed),
    ):
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
        content = {
            "contract_id": gallery.contract_id,
            "people": people,
            "aliases": dict(sorted(gallery.aliases.items())),
        }
        print(json.dumps(content, ensure_ascii=False))
        return 0
    for person, faces in counts.items():
        print(f"{faces:>4}  {person}")
    for earlier, person in sorted(gallery.aliases.items()):
        print(f"earlier name: {earlier} is {person}")
    print(f"{len(counts)} people, {len(gallery.faces)} faces in {args.gallery}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from faceops.gallery.show import show
    from faceops.gallery.store import Gallery

    person, faces = show(Gallery.open(args.gallery), args.name)
    if args.json:
        content = {"person": person, "faces": [asdict(face) for face in faces]}
        print(json.dumps(content, ensure_ascii=False))
        return 0
    print("likeness  other  quality  photo")
    for face in faces:
        own = "       -" if face.likeness is None else f"{face.likeness:8.2f}"
        other = "    -" if face.other_likeness is None else f"{face.other_likeness:5.2f}"
        odd = f"  <- more like {face.other}" if face.is_odd else ""
        print(f"{own}  {other}  {face.quality:7.2f}  {face.photo}{odd}")
    print(
        f"{person}: {len(faces)} faces; likeness is the mean cosine to the person's other faces, "
        "other the highest to somebody else's"
    )
    return 0


def _rename(args: argparse.Namespace) -> int:
    from faceops.gallery.rename import rename

    name, faces = rename(args.gallery, args.name, args.new)
    return _told(args, name, f"{args.name} is {name} now, with {faces} faces", faces)


def _merge(args: argparse.Namespace) -> int:
    from faceops.gallery.rename import merge

    name, faces = merge(args.gallery, args.name, args.new)
    return _told(args, name, f"{args.name} and {name} are one: {name}, with {faces} faces", faces)


def _unalias(args: argparse.Namespace) -> int:
    from faceops.gallery.unalias import unalias

    person = unalias(args.gallery, args.name)
    if args.json:
        print(json.dumps({"name": args.name, "person": person}, ensure_ascii=False))
        return 0
    print(
        f"{args.name} is not {person} any longer: enrolling {args.name} gives a person of that "
        f"name. To `forget` {person}, results that still say {args.name} are not {person}'s now: "
        "run identify into them again"
    )
    return 0


def _told(args: argparse.Namespace, name: str, sentence: str, faces: int) -> int:
    if args.json:
        print(json.dumps({"person": name, "faces": faces}, ensure_ascii=False))
    else:
        print(f"{sentence}; the next identify gives that name, without opening photos again")
    return 0


def _reembed(args: argparse.Namespace) -> int:
    from faceops.gallery.reembed import reembed
    from faceops.gallery.store import Gallery

    Gallery.open(args.gallery)  # wrong arguments first: loading a release takes a second
    done = reembed(args.gallery, load_bundle(args))
    if args.json:
        print(json.dumps(asdict(done), ensure_ascii=False))
    elif done.before != done.contract_id:
        print(
            f"{args.gallery}: {done.embedded} faces of {done.people} people embedded anew, under "
            f"contract {done.contract_id[:12]} in place of {done.before[:12]}; names and crops stay"
        )
    elif done.noted:
        print(
            f"{args.gallery} is under contract {done.contract_id[:12]} already; how its crops were "
            "made is noted now, so other releases that cut faces alike can embed them"
        )
    else:
        print(
            f"nothing to do: the {done.faces} faces in {args.gallery} are under contract "
            f"{done.contract_id[:12]} already"
        )
    return 0
