"""`faceops people` and `faceops name`: list, rename, merge, forget and re-embed enrolled people."""

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.cli.bundle_argument import add_bundle_arguments, load_bundle
from faceops.cli.common import add_command, add_folder, add_folders, add_group, show

if TYPE_CHECKING:
    from faceops.identification.forget.forget import ForgetResult

SPELLING = "in any spelling: Ann_Lee is ann-lee"
# What forgetting does not reach.
NOT_COVERED = (
    "photos, and names in the names of files and folders: they are yours",
    "the folder that the person was enrolled from: enrolling it again brings the person back",
    "sidecars that were moved out of the photos' folders, and names that others wrote into them",
    "faces that never got the person's name: they are not known to be theirs",
    "copies of results that were made elsewhere, backups, and models trained on the photos",
)


def add_parser(subparsers: Any) -> None:
    """Add `faceops people` with its actions, and `faceops name`."""
    actions = add_group(
        subparsers, "people", help="list, show, rename, merge, forget and re-embed people"
    )
    add_command(actions, "list", _list, help="list the enrolled people with their faces")
    showing = add_command(
        actions, "show", _show, help="show a person's faces, the most unlike ones first"
    )
    renaming = add_command(
        actions,
        "rename",
        _rename,
        help="give a person another name; enrolling the old name gives the new one",
    )
    merging = add_command(actions, "merge", _merge, help="make two enrolled people one")
    unaliasing = add_command(
        actions,
        "unalias",
        _unalias,
        help="release a person's earlier name: enrolling it then gives another person",
        description="After `rename` or `merge` the earlier name stands for the same person. This "
        "ends that, for another person of that name. The faces stay with the person.",
    )
    forgetting = add_command(
        actions,
        "forget",
        _forget,
        help="remove a person from the gallery and from all results, and search for what is left",
    )
    readmitting = add_command(
        actions,
        "readmit",
        _readmit,
        help="undo that faces were forgotten, for a person who is enrolled again",
        description="Forgotten faces stay without a name, whoever is enrolled. Give the mark that "
        "forget printed, and the next identify opens their photos again and names them.",
    )
    embedding = add_command(
        actions,
        "reembed",
        _reembed,
        help="convert the gallery to another release, without photos",
        description="Embed the stored faces with another release, so that people need not be "
        "enrolled again. Its detector, landmarks and alignment have to be those of the release "
        "that the gallery was enrolled with.",
    )
    for action, name in (
        (showing, "NAME"),
        (renaming, "OLD"),
        (merging, "GONE"),
        (unaliasing, "NAME"),
        (forgetting, "NAME"),
    ):
        action.add_argument("name", metavar=name, help=SPELLING)
    renaming.add_argument("new", metavar="NEW")
    merging.add_argument("new", metavar="KEPT", help="whose name both have afterwards")
    readmitting.add_argument("mark", metavar="MARK", help="as forget printed it")
    add_folders(
        forgetting,
        "--out",
        "a further output folder of identify; those named from this gallery are known",
    )
    add_folders(
        forgetting,
        "--gone",
        "state that a folder of results, or of photos with sidecars, is gone for good",
    )
    add_folders(readmitting, "--out", "as of forget")
    add_bundle_arguments(embedding)
    naming = add_command(
        subparsers,
        "name",
        _name,
        help="enrol an unknown person of the latest results under a name",
        description="Enrol unknown-007, as the report and unknown.csv show them, under a name, "
        "and decide the photos of --out again. A person who is already enrolled gets the faces.",
    )
    naming.add_argument("unknown", metavar="UNKNOWN", help="such as unknown-007")
    naming.add_argument("name", metavar="NAME")
    add_folder(naming, "--out", text="the results of identify")
    add_bundle_arguments(naming)
    for parser in (*actions.choices.values(), naming):
        add_folder(parser, "--gallery", "gallery")


def _list(args: argparse.Namespace) -> int:
    from faceops.gallery.store import Gallery

    gallery = Gallery.open(args.gallery)
    counts = dict(sorted(Counter(gallery.persons).items()))
    aliases = dict(sorted(gallery.aliases.items()))
    content = {
        "contract_id": gallery.contract_id,
        "people": [{"person": person, "faces": faces} for person, faces in counts.items()],
        "aliases": aliases,
    }
    lines = [f"{faces:>4}  {person}" for person, faces in counts.items()]
    lines += [f"earlier name: {earlier} is {person}" for earlier, person in aliases.items()]
    lines.append(f"{len(counts)} people, {len(gallery.faces)} faces in {args.gallery}")
    return show(args, content, lines)


def _show(args: argparse.Namespace) -> int:
    from faceops.gallery.people import show as show_person
    from faceops.gallery.store import Gallery

    person, faces = show_person(Gallery.open(args.gallery), args.name)
    lines = ["likeness  other  quality  photo"]
    for face in faces:
        own = "       -" if face.likeness is None else f"{face.likeness:8.2f}"
        other = "    -" if face.other_likeness is None else f"{face.other_likeness:5.2f}"
        odd = f"  <- more like {face.other}" if face.is_odd else ""
        lines.append(f"{own}  {other}  {face.quality:7.2f}  {face.photo}{odd}")
    lines.append(
        f"{person}: {len(faces)} faces; likeness is the mean cosine to the person's other faces, "
        "other the highest to somebody else's"
    )
    return show(args, {"person": person, "faces": [asdict(face) for face in faces]}, lines)


def _rename(args: argparse.Namespace) -> int:
    from faceops.gallery.people import rename

    name, faces = rename(args.gallery, args.name, args.new)
    return _renamed(args, name, faces, f"{args.name} is {name} now, with {faces} faces")


def _merge(args: argparse.Namespace) -> int:
    from faceops.gallery.people import merge

    name, faces = merge(args.gallery, args.name, args.new)
    sentence = f"{args.name} and {name} are one: {name}, with {faces} faces"
    return _renamed(args, name, faces, sentence)


def _renamed(args: argparse.Namespace, name: str, faces: int, sentence: str) -> int:
    line = f"{sentence}; the next identify gives that name, without opening photos again"
    return show(args, {"person": name, "faces": faces}, line)


def _unalias(args: argparse.Namespace) -> int:
    from faceops.gallery.people import unalias

    person = unalias(args.gallery, args.name)
    return show(
        args,
        {"name": args.name, "person": person},
        f"{args.name} is not {person} any longer: enrolling {args.name} gives a person of that "
        f"name. To `forget` {person}, results that still say {args.name} are not {person}'s now: "
        "run identify into them again",
    )


def _forget(args: argparse.Namespace) -> int:
    from faceops.identification.forget.forget import forget_person

    done = forget_person(args.gallery, args.name, tuple(args.out), tuple(args.gone))
    show(args, _forget_content(done), _forget_lines(done, args.gallery))
    return 0 if done.complete else 1


def _forget_content(done: "ForgetResult") -> dict[str, object]:
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


def _forget_lines(done: "ForgetResult", gallery: Path) -> list[str]:
    """Return what was removed, what is left and what is not covered."""
    lines = [
        f"{done.person}: {done.gallery_faces} faces with crops and embeddings removed from "
        f"{gallery}"
    ]
    lines += [
        f"{output.folder}: {output.rows} rows blanked, {output.cached_faces} cached faces, "
        f"{output.reports} reports and {output.pictures} drawn photos removed"
        for output in done.outputs
    ]
    if done.sidecars.files:
        lines.append(
            f"{done.sidecars.entries} entries removed from the {done.sidecars.files} sidecars "
            "beside the photos"
        )
    proof = done.proof
    lines.append(
        f"searched {proof.files} files ({proof.megabytes:g} MB) for the name and for "
        f"{proof.secrets} embeddings and pictures: "
        + (f"found in {len(proof.found)} places" if proof.found else "nothing is left")
    )
    lines += [f"  still there: {place}" for place in proof.found]
    if any(output.cached_faces for output in done.outputs):
        lines.append(
            "these faces stay without a name, even if the person is enrolled again; to undo that: "
            f"faceops people readmit {done.mark}"
        )
    lines += [
        f"  not there now: {folder}; forget the person again when it is back, or state that it "
        "is gone for good: --gone DIR"
        for folder in done.unreachable
    ]
    return [*lines, "not covered:", *(f"  - {place}" for place in NOT_COVERED)]


def _readmit(args: argparse.Namespace) -> int:
    from faceops.identification.forget.forget import readmit

    lifted = readmit(args.gallery, args.mark, tuple(args.out))
    lines = [
        f"{out}: {count} faces readmitted; the next identify opens their photos again"
        for out, count in lifted.items()
    ]
    return show(args, {str(out): count for out, count in lifted.items()}, lines)


def _reembed(args: argparse.Namespace) -> int:
    from faceops.gallery.reembed import reembed
    from faceops.gallery.store import Gallery

    Gallery.open(args.gallery)  # wrong arguments first: loading a release takes a second
    done = reembed(args.gallery, load_bundle(args))
    contract = done.contract_id[:12]
    if done.before != done.contract_id:
        line = (
            f"{args.gallery}: {done.embedded} faces of {done.people} people re-embedded, under "
            f"contract {contract} in place of {done.before[:12]}; names and crops stay"
        )
    elif done.noted:
        line = (
            f"{args.gallery} is under contract {contract} already; how its crops were "
            "made is noted now, so other releases that cut faces alike can embed them"
        )
    else:
        line = (
            f"nothing to do: the {done.faces} faces in {args.gallery} are under contract "
            f"{contract} already"
        )
    return show(args, asdict(done), line)


def _name(args: argparse.Namespace) -> int:
    from faceops.gallery.store import Gallery
    from faceops.identification.unknown.name_unknown import name_unknown
    from faceops.identification.unknown.numbers import unknown_number

    unknown_number(args.unknown)  # wrong arguments first: loading a release takes a second
    Gallery.open(args.gallery)
    done = name_unknown(args.unknown, args.name, args.gallery, load_bundle(args), args.out, None)
    lines = [f"not enrolled: {flag.photo} ({flag.reason}): {flag.note}" for flag in done.flags]
    before = f", {done.enrolled_before} were enrolled before" if done.enrolled_before else ""
    lines.append(
        f"{done.unknown} is {done.person}: {done.enrolled} faces enrolled now{before}; "
        f"{done.person} is named in {done.summary.people.get(done.person, 0)} faces of "
        f"{done.summary.photos} photos; look at {args.out / 'report.html'}"
    )
    return show(args, {**asdict(done), "summary": done.summary.as_dict()}, lines)
