"""`faceops people`: list, show, rename, merge, split, forget and re-embed enrolled people."""

import argparse
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from faceops import cli
from faceops.base.errors import FaceOpsError
from faceops.base.files import valid_unicode
from faceops.cli.model_choice import add_bundle_arguments, load_bundle
from faceops.photos.folders import GALLERY, PHOTOS, RESULTS, Use

if TYPE_CHECKING:
    from faceops.gallery.similarity import Lookalikes
    from faceops.gallery.storage import GalleryPlace
    from faceops.gallery.store import Gallery
    from faceops.identification.forget.forget import ForgetResult

COUNTS = ("rows", "cached_faces", "reports", "pictures")  # of what forgetting removed
SPELLING = "in any spelling: Ann_Lee is ann-lee"
MOST_PLACES = 10  # listed where others name the person
LOOK_ALIKE = "a face of one may stay unnamed as ambiguous; more photos of each help"
# What forgetting does not reach.
NOT_COVERED = (
    "photos and what is embedded in them (XMP, IPTC, captions): they are yours and not searched",
    "names in the names of files and folders, and in what other programs wrote into sidecars",
    "the folder that the person was enrolled from: enrolling it again brings the person back",
    "sidecars that were moved out of the photos' folders, and copies whose name has no .xmp",
    "files of `faceops decisions export`: importing one brings its decisions back",
    "faces that never got the person's name: they are not known to be theirs",
    "copies of results in other places, backups, and models trained on the photos",
)


def add_parser(subparsers: Any) -> None:
    text = "list, show, rename, merge, split, forget and re-embed people"
    actions = cli.add_group(subparsers, "people", help=text)
    add_bundle_arguments(cli.add_command(actions, _list))
    names = {_show: "NAME", _rename: "OLD", _merge: "GONE", _split: "KEPT"}
    names |= {_unalias: "NAME", _forget: "NAME"}
    for run, name in names.items():
        parser = cli.add_command(actions, run)
        parser.add_argument("name", metavar=name, type=valid_unicode, help=SPELLING)
    add_bundle_arguments(actions.choices["show"])
    actions.choices["rename"].add_argument("new", metavar="NEW")
    text = "NEW is the name of another person too: show both under it, see people list"
    actions.choices["rename"].add_argument("--another-person", action="store_true", help=text)
    text = "who was merged into KEPT; may be left out if only one person was"
    actions.choices["split"].add_argument("gone", metavar="GONE", nargs="?", default="", help=text)
    for name in ("rename", "merge", "split", "unalias"):
        cli.add_by(actions.choices[name])
    text = "whose name both have afterwards"
    actions.choices["merge"].add_argument("new", metavar="KEPT", help=text)
    readmitting = cli.add_command(actions, _readmit)
    text = "as forget printed it"
    readmitting.add_argument("mark", metavar="MARK", type=valid_unicode, help=text)
    forgetting = actions.choices["forget"]
    text = "a further output folder of identify; those named from this gallery are known"
    more: dict[str, Any] = {"action": "append", "default": []}
    cli.add_folder(forgetting, "--out", RESULTS, Use.CLEAN, help=text, **more)
    text = "state that a folder of results, or of photos with sidecars, is gone for good"
    cli.add_folder(forgetting, "--gone", PHOTOS, help=text, **more)
    cli.add_folder(readmitting, "--out", RESULTS, Use.CLEAN, help="as of forget", **more)
    add_bundle_arguments(cli.add_command(actions, _reembed))
    for parser in actions.choices.values():
        cli.add_folder(parser, "--gallery", GALLERY, Use.WRITE, default="gallery")


def _list(args: argparse.Namespace) -> int:
    """List the enrolled people with their faces, and who looks like whom.

    Who looks alike is a matter of the release; the list does without where it cannot be loaded.
    """
    from faceops.gallery.decisions import Decisions
    from faceops.gallery.store import Gallery

    gallery, decisions = Gallery.open(args.gallery), Decisions.load(args.gallery)
    counts = dict(sorted(Counter(gallery.persons).items()))
    aliases = dict(sorted(gallery.aliases.items()))
    pairs, note = _lookalikes(args, gallery)
    similar: dict[str, list[str]] = {person: [] for person in counts}
    for pair in pairs:
        similar[pair.person].append(pair.other)
        similar[pair.other].append(pair.person)
    content = {
        "contract_id": gallery.contract_id,
        "people": [
            {
                "person": person,
                "shown": decisions.shown_name(person),
                "faces": faces,
                "lookalikes": None if note else similar[person],
            }
            for person, faces in counts.items()
        ],
        "aliases": aliases,
    }
    lines = [
        f"{faces:>4}  {person}"
        + (f", shown as {shown}" if (shown := decisions.shown_name(person)) != person else "")
        + (f"  <- looks like {', '.join(similar[person])}" if similar[person] else "")
        for person, faces in counts.items()
    ]
    lines += [note] if note else []
    lines += [f"earlier name: {earlier} is {person}" for earlier, person in aliases.items()]
    lines.append(f"{len(counts)} people, {len(gallery.faces)} faces in {args.gallery}")
    return cli.show(args, content, lines)


def _lookalikes(args: argparse.Namespace, gallery: "Gallery") -> tuple[list["Lookalikes"], str]:
    """Return the lookalikes in `gallery`, or why they are not known.

    Raises UsageError, FaceOpsError: the release that the user named cannot be loaded.
    """
    from faceops.gallery.similarity import find_lookalikes

    try:
        bundle = load_bundle(args, gallery)
        gallery.require(bundle.release.contract_id)
    except FaceOpsError as error:
        if args.bundle is not None or args.model is not None:
            raise
        return [], f"who looks alike is not known: {error}"
    return find_lookalikes(gallery, bundle.release.thresholds, bundle.verify), ""


def _show(args: argparse.Namespace) -> int:
    """Show a person's faces, the least similar first, and who the person looks like."""
    from faceops.gallery.similarity import show as show_person
    from faceops.gallery.store import Gallery

    gallery = Gallery.open(args.gallery)
    person, faces = show_person(gallery, args.name)
    pairs, note = _lookalikes(args, gallery)
    similar = [pair for pair in pairs if person in (pair.person, pair.other)]
    lines = ["similarity  other  quality  photo"]
    for face in faces:
        own = "-" if face.mean_similarity is None else f"{face.mean_similarity:.2f}"
        other = "    -" if face.other_similarity is None else f"{face.other_similarity:5.2f}"
        mark = f"  <- more like {face.other}" if face.is_suspicious else ""
        lines.append(f"{own:>10}  {other}  {face.quality:7.2f}  {face.photo}{mark}")
    lines.append(
        f"{person}: {len(faces)} faces; similarity is the mean cosine to the person's other faces, "
        "other the highest to another person's face"
    )
    lines += [
        f"looks like {pair.beside(person)} (log odds {pair.log_odds:.1f}): {LOOK_ALIKE}"
        for pair in similar
    ]
    lines += [note] if note else []
    others = [{"person": pair.beside(person), "log_odds": pair.log_odds} for pair in similar]
    keys = {"mean_similarity": "likeness", "other_similarity": "other_likeness"}  # in JSON
    rows = [{keys.get(key, key): value for key, value in asdict(face).items()} for face in faces]
    content = {"person": person, "faces": rows, "lookalikes": None if note else others}
    return cli.show(args, content, lines)


def _rename(args: argparse.Namespace) -> int:
    """Give a person another name; enrolling the old name gives the new one.

    With --another-person two people have one displayed name: the report, drawings and XMP show NEW
    for both. The gallery and the column `person` of the records name this one NEW (2).
    """
    from faceops.dataset.names import given_name, person_key
    from faceops.gallery.people import rename

    by, is_another = cli.decided_by(args), args.another_person
    name, faces = rename(args.gallery, args.name, args.new, is_another=is_another, by=by)
    done = f"{args.name} is {name} now"
    if person_key(name) != person_key(args.new):
        done += f", shown as {given_name(args.new)}"
    return _renamed(args, name, faces, done)


def _merge(args: argparse.Namespace) -> int:
    """Make two enrolled people one."""
    from faceops.gallery.people import merge

    name, faces = merge(args.gallery, args.name, args.new, by=cli.decided_by(args))
    return _renamed(args, name, faces, f"{args.name} and {name} are one: {name}")


def _split(args: argparse.Namespace) -> int:
    """Undo that a person was merged into another one.

    The faces that came from GONE are that person's again, with the decisions about GONE and the
    earlier names; faces that were enrolled for KEPT since stay.
    """
    from faceops.gallery.people import split

    name, faces = split(args.gallery, args.name, args.gone, by=cli.decided_by(args))
    return _renamed(args, name, faces, f"{name} is not {args.name} any longer")


def _renamed(args: argparse.Namespace, name: str, faces: int, done: str) -> int:
    from faceops.gallery.outputs import output_folders

    line = f"{done}, with {faces} faces; the next identify gives that name"
    if output_folders(args.gallery).sidecars:
        line += ", with --xmp in the sidecars too"
    line += ", without opening photos again"
    return cli.show(args, {"person": name, "faces": faces}, line)


def _unalias(args: argparse.Namespace) -> int:
    """Release a person's earlier name: enrolling it then gives another person.

    After `rename` or `merge` the earlier name is an alias of the same person. This removes it, for
    another person of that name. The faces stay with the person.
    """
    from faceops.gallery.people import unalias

    person = unalias(args.gallery, args.name, by=cli.decided_by(args))
    line = (
        f"{args.name} is not {person} any longer: enrolling {args.name} gives a person of that "
        f"name. To `forget` {person}, results that still say {args.name} are not {person}'s now: "
        "run identify into them again"
    )
    return cli.show(args, {"name": args.name, "person": person}, line)


def _forget(args: argparse.Namespace) -> int:
    """Remove a person from the gallery and from all results, and search for what is left."""
    from faceops.identification.forget.forget import forget_person

    done = forget_person(args.gallery, args.name, tuple(args.out), tuple(args.gone))
    content = {
        "person": done.person,
        "faces_removed": done.gallery_faces,
        "outputs": [
            {"folder": str(output.folder), **{name: getattr(output, name) for name in COUNTS}}
            for output in done.outputs
        ],
        "decisions": done.decisions,
        "also_shown": done.also_shown,
        "mark": done.mark,
        "sidecars": {"files": done.sidecars.files, "entries": done.sidecars.entries},
        "searched": asdict(done.proof),
        "unreachable": done.unreachable,
        "not_covered": NOT_COVERED,
    }
    cli.show(args, content, _forget_lines(done, args.gallery))
    return 0 if done.complete else 1


def _forget_lines(done: "ForgetResult", gallery: "GalleryPlace") -> list[str]:
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
    if done.copied:
        lines.append(f"{done.copied} objects replaced or deleted in copies of results in stores")
    if done.decisions:
        lines.append(f"{done.decisions} entries removed from the journal of decisions")
    lines += [
        f"{other} was shown under that name too, and is not any longer: people rename gives another"
        for other in done.also_shown
    ]
    proof = done.proof
    left = "nothing is left in them"
    if proof.found:
        left = f"found in {len(proof.found)} places"
    elif proof.elsewhere:
        left = f"left only in {len(proof.elsewhere)} texts that FaceOps does not change"
    lines.append(
        f"searched {proof.files} files ({proof.megabytes:g} MB) for the name and for "
        f"{proof.secrets} embeddings and pictures: {left}"
    )
    lines += [f"  still there: {place}" for place in proof.found]
    lines += [f"  not changed: {place}" for place in proof.elsewhere[:MOST_PLACES]]
    if more := len(proof.elsewhere[MOST_PLACES:]):
        lines.append(f"  not changed: {more} more places; --json lists all of them")
    if any(output.cached_faces for output in done.outputs):
        lines.append(
            "these faces stay without a name, even if the person is enrolled again; to undo that: "
            f"faceops people readmit {done.mark}"
        )
    lines += [
        f"  unreachable: {folder}; forget the person again when it is back, or state that it "
        "is gone for good: --gone DIR"
        for folder in done.unreachable
    ]
    return [*lines, "not covered:", *(f"  - {place}" for place in NOT_COVERED)]


def _readmit(args: argparse.Namespace) -> int:
    """Undo that faces were forgotten, for a person who is enrolled again.

    Forgotten faces stay without a name, even if the person is enrolled again. Give the mark that
    forget printed, and the next identify opens their photos again and names them. What was decided
    about these faces stays forgotten.
    """
    from faceops.identification.forget.forget import readmit

    lifted = readmit(args.gallery, args.mark, tuple(args.out))
    lines = [
        f"{out}: {count} faces readmitted; the next identify opens their photos again"
        for out, count in lifted.items()
    ]
    return cli.show(args, {str(out): count for out, count in lifted.items()}, lines)


def _reembed(args: argparse.Namespace) -> int:
    """Convert the gallery to another release, without photos.

    Embed the stored faces with another release, so that people need not be enrolled again. Its
    detector, landmarks and alignment have to be those of the release that the gallery was enrolled
    with.
    """
    from faceops.gallery.reembed import reembed
    from faceops.gallery.store import Gallery

    Gallery.open(args.gallery)  # wrong arguments first: loading a release takes a second
    bundle = load_bundle(args)
    done = reembed(args.gallery, bundle)
    contract, is_new = done.contract_id[:12], done.before != done.contract_id
    if done.embedded or is_new:
        line = (
            f"{args.gallery}: {done.embedded} faces of {done.people} people re-embedded, under "
            f"contract {contract} {f'instead of {done.before[:12]}' if is_new else 'as before'}; "
            "names and crops are unchanged"
        )
    elif done.noted:
        line = (
            f"{args.gallery} is under contract {contract} already; how its crops were "
            "made is recorded now, so other releases with the same crops can embed them"
        )
    else:
        line = (
            f"nothing to do: the {done.faces} faces in {args.gallery} are under contract "
            f"{contract} already"
        )
    lines = [bundle.note] if bundle.note else []
    lines += [f"left out, its crop is lost; enrol its photo: {face}" for face in done.left_out]
    return cli.show(args, asdict(done), [*lines, line])
