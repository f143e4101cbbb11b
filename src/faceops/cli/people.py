"""`faceops people`: who is enrolled; rename, join, forget people, embed them anew."""

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from faceops.cli.bundle_argument import add_bundle_arguments, load_bundle

if TYPE_CHECKING:
    from faceops.identification.forget.forget import Forgetting


# What removing does not reach.
NOT_COVERED = (
    "photos, and names in the names of files and folders: they are yours",
    "the folder that the person was enrolled from: enrolling it again brings the person back",
    "sidecars that were moved out of the photos' folders, and names that others wrote into them",
    "faces that never got the person's name: they are not known to be theirs",
    "copies of results that were made elsewhere, backups, and models trained on the photos",
)


def run_forget(args: argparse.Namespace) -> int:
    """Forget the person and print what was removed, what is left and what is not covered."""
    from faceops.identification.forget.forget import forget_everywhere

    done = forget_everywhere(args.gallery, args.name, tuple(args.out), tuple(args.gone))
    if args.json:
        print(json.dumps(_as_json(done), ensure_ascii=False))
        return 0 if done.complete else 1
    print(
        f"{done.person}: {done.gallery_faces} faces with crops and embeddings removed from "
        f"{args.gallery}"
    )
    for output in done.outputs:
        print(
            f"{output.folder}: {output.rows} rows blanked, {output.cached_faces} cached faces, "
            f"{output.reports} reports and {output.pictures} drawn photos removed"
        )
    if done.sidecars.files:
        print(
            f"{done.sidecars.entries} entries removed from the {done.sidecars.files} sidecars "
            "beside the photos"
        )
    proof = done.proof
    print(
        f"searched {proof.files} files ({proof.megabytes:g} MB) for the name and for "
        f"{proof.secrets} embeddings and pictures: "
        + (f"found in {len(proof.found)} places" if proof.found else "nothing is left")
    )
    for place in proof.found:
        print(f"  still there: {place}")
    if any(output.cached_faces for output in done.outputs):
        print(
            "these faces stay without a name, even if the person is enrolled again; to take that "
            f"back: faceops people readmit {done.mark}"
        )
    for folder in done.unreachable:
        print(
            f"  not there now: {folder}; forget the person again when it is back, or state that it "
            "is gone for good: --gone DIR"
        )
    print("not covered:")
    for place in NOT_COVERED:
        print(f"  - {place}")
    return 0 if done.complete else 1


def run_readmit(args: argparse.Namespace) -> int:
    """Give the faces of one forgetting back and print how many."""
    from faceops.identification.forget.readmit import readmit

    lifted = readmit(args.gallery, args.mark, tuple(args.out))
    if args.json:
        print(json.dumps({str(out): count for out, count in lifted.items()}))
        return 0
    for out, count in lifted.items():
        print(f"{out}: {count} faces given back; the next identify opens their photos again")
    return 0


def _as_json(done: "Forgetting") -> dict[str, object]:
    return {
        "person": done.person,
        "faces_removed": done.gallery_faces,
        "outputs": [
            {
                "folder": str(output.folder),
                "rows": output.rows,
                "cached_faces": output.cached_faces,
                "reports": output.reports,
                "pictures": output.pictures,
            }
            for output in done.outputs
        ],
        "mark": done.mark,
        "sidecars": {"files": done.sidecars.files, "entries": done.sidecars.entries},
        "searched": asdict(done.proof),
        "unreachable": done.unreachable,
        "not_covered": NOT_COVERED,
    }


SPELLING = "in any spelling: Ann_Lee is ann-lee"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `faceops people` and `faceops name` to the parser."""
    add_name_parser(subparsers)
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
    from faceops.gallery.people import show
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
    from faceops.gallery.people import rename

    name, faces = rename(args.gallery, args.name, args.new)
    return _told(args, name, f"{args.name} is {name} now, with {faces} faces", faces)


def _merge(args: argparse.Namespace) -> int:
    from faceops.gallery.people import merge

    name, faces = merge(args.gallery, args.name, args.new)
    return _told(args, name, f"{args.name} and {name} are one: {name}, with {faces} faces", faces)


def _unalias(args: argparse.Namespace) -> int:
    from faceops.gallery.people import unalias

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


def add_name_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "name",
        help="enrol an unknown person of the latest results under a name",
        description="Enrol unknown-007, as the report and unknown.csv show them, under a name, "
        "and decide the photos of --out anew. A person who is enrolled already gets the faces too.",
    )
    parser.add_argument("unknown", metavar="UNKNOWN", help="such as unknown-007")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--gallery", type=Path, default=Path("gallery"), metavar="DIR", help="(default: gallery)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the results of identify"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_bundle_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from faceops.gallery.store import Gallery
    from faceops.identification.unknown.groups import unknown_number
    from faceops.identification.unknown.name_unknown import name_unknown

    unknown_number(args.unknown)  # wrong arguments first: loading a release takes a second
    Gallery.open(args.gallery)
    done = name_unknown(args.unknown, args.name, args.gallery, load_bundle(args), args.out, None)
    if args.json:
        content = {**asdict(done), "summary": done.summary.as_dict()}
        print(json.dumps(content, ensure_ascii=False))
        return 0
    for flag in done.flags:
        print(f"not enrolled: {flag.photo} ({flag.reason}): {flag.note}")
    before = f", {done.enrolled_before} were enrolled before" if done.enrolled_before else ""
    print(
        f"{done.unknown} is {done.person}: {done.enrolled} faces enrolled now{before}; "
        f"{done.person} is named in {done.summary.people.get(done.person, 0)} faces of "
        f"{done.summary.photos} photos; look at {args.out / 'report.html'}"
    )
    return 0
