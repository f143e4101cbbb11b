"""The gallery: `faceops enrol`, and `faceops gallery` to export, import, check and repair it."""

import argparse
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops import cli
from faceops.base.errors import UsageError, as_arguments, printable
from faceops.cli.model_choice import add_bundle_arguments, load_bundle
from faceops.cli.people import LOOK_ALIKE
from faceops.photos.folders import GALLERY, PHOTOS, RESULTS, Use

if TYPE_CHECKING:
    from faceops.gallery.store import Gallery

MOST_FLAGS = 100  # told of one reason at an enrolment
MOST_LOOKALIKES = 10  # told at an enrolment


def add_parser(subparsers: Any) -> None:
    enrolling = cli.add_command(subparsers, _enrol)
    text = "the folder of known people, unless --from-tags names an album"
    cli.add_folder(enrolling, "people_dir", PHOTOS, metavar="PEOPLE_DIR", nargs="?", help=text)
    text = (
        "enrol the people whom digiKam, Lightroom, Picasa and other programs tagged in this album"
    )
    cli.add_folder(enrolling, "--from-tags", PHOTOS, metavar="PHOTOS_DIR", help=text)
    text = "remove faces whose photo PEOPLE_DIR no longer has; those of photos that cannot be read "
    text += "stay"
    enrolling.add_argument("--prune", action="store_true", help=text)
    text = "enrol also a face that is unlike its person's other photos"
    enrolling.add_argument("--trust", action="store_true", help=text)
    cli.add_exclude(enrolling)
    cli.add_photo_limits(enrolling)
    add_bundle_arguments(enrolling)
    cli.add_folder(enrolling, "--gallery", GALLERY, Use.WRITE, default="gallery")
    text = "export, import, check and repair a gallery"
    actions = cli.add_group(subparsers, "gallery", help=text)
    for run, use in ((_export, Use.READ), (_import, Use.WRITE)):
        parser = cli.add_command(actions, run)
        parser.add_argument("archive", type=Path, metavar="FILE", help="the archive, a tar file")
        cli.add_folder(parser, "--gallery", GALLERY, use, default="gallery")
    for run in (_check, _repair):
        parser = cli.add_command(actions, run)
        text = "the gallery (default: gallery, or none with --out)"
        cli.add_folder(parser, "--gallery", GALLERY, help=text)
        text = "an output folder of identify, whose state and records are checked too"
        cli.add_folder(parser, "--out", RESULTS, action="append", default=[], help=text)


def _enrol(args: argparse.Namespace) -> int:
    """Enrol known people into a gallery.

    Enrol the people of PEOPLE_DIR: Name/photo.jpg or Name.jpg; or with --from-tags those whom other
    programs tagged in an album. Run it again after adding photos; what is enrolled is not opened
    again.
    """
    from faceops.gallery.enrol import enrol, enrol_tagged
    from faceops.gallery.storage import storage_of
    from faceops.gallery.store import Gallery

    if (args.people_dir is None) == (args.from_tags is None):
        raise UsageError("name either PEOPLE_DIR or an album: --from-tags PHOTOS_DIR.")
    if args.from_tags is not None:
        if args.prune:
            raise UsageError("--prune goes with PEOPLE_DIR; faces from tags are never pruned.")
        cli.require_folder(args.from_tags, "name the folder of tagged photos")
    else:
        cli.require_folder(args.people_dir, "name the folder of known people")
    limits = cli.photo_limits(args)
    existing = Gallery.open(args.gallery) if storage_of(args.gallery).stamp() else None
    bundle = load_bundle(args, existing)
    settings = {"trust": args.trust, "exclude": args.exclude, "limits": limits}
    if args.from_tags is not None:
        report = enrol_tagged(args.from_tags, args.gallery, bundle, **settings)
    else:
        report = enrol(args.people_dir, args.gallery, bundle, prune=args.prune, **settings)
    lines = [bundle.note] if bundle.note else []
    lines += _flag_lines(report.flags, with_person=args.from_tags is not None)
    lines += [
        f"moved: the face of {move.photo} from {move.before} to {move.person}"
        for move in report.moved
    ]
    lines += [
        f"{earlier} is enrolled as {person}; if they are two people: "
        f"faceops people unalias --gallery {args.gallery} {as_arguments(earlier)}"
        for earlier, person in report.aliases.items()
    ]
    lines += [
        f"one person: {person} is also written {', '.join(spellings)}"
        for person, spellings in report.spellings.items()
    ]
    lines += cli.skipped_line(report.skipped)
    lines += [
        f"{pair.person} and {pair.other} look alike to the model: {LOOK_ALIKE}"
        for pair in report.lookalikes[:MOST_LOOKALIKES]
    ]
    if more := len(report.lookalikes[MOST_LOOKALIKES:]):
        lines.append(f"{more} more pairs look alike; `faceops people list` marks them")
    lines.append(
        f"{args.gallery}: {len(report.people)} people, {sum(report.people.values())} faces; "
        f"{report.enrolled} enrolled now, {report.unchanged} unchanged, "
        f"{len(report.flags)} photos not enrolled"
        + (f", {report.surplus} more not needed" if report.surplus else "")
        + (f", {len(report.moved)} moved" if report.moved else "")
        + (f", {report.pruned} faces removed" if args.prune else "")
        + (f"; device: {bundle.runs_on}" if report.photos_opened else "")
    )
    about = {"gallery": str(args.gallery), "release_note": bundle.note, "device": bundle.runs_on}
    content = asdict(report) | about
    return cli.show(args, content, lines)


def _flag_lines(flags: list[Any], *, with_person: bool = False) -> list[str]:
    """Return a line for each flag, for the first `MOST_FLAGS` of a reason."""
    lines, seen = [], Counter[str]()
    for flag in flags:
        seen[flag.reason] += 1
        if seen[flag.reason] <= MOST_FLAGS:
            who = f", {flag.person}" if with_person and flag.person else ""
            lines.append(f"not enrolled: {printable(flag.photo)}{who} ({flag.reason}): {flag.note}")
    lines += [
        f"not enrolled: {count - MOST_FLAGS} more ({reason}); --json lists all of them"
        for reason, count in seen.items()
        if count > MOST_FLAGS
    ]
    return lines


def _export(args: argparse.Namespace) -> int:
    """Write a gallery to one file, to keep it as a backup.

    Write the gallery with its crops, names and list of output folders to FILE. The file holds
    biometric data: `faceops people forget` does not reach it.
    """
    from faceops.gallery.archive import export_gallery

    gallery = export_gallery(args.gallery, args.archive)
    size = args.archive.stat().st_size
    return _shown(args, gallery, f"{args.archive}: {size / 1e6:.1f} MB", bytes=size)


def _import(args: argparse.Namespace) -> int:
    """Restore a gallery from such a file, into a new folder.

    The folder appears when every file agrees with its SHA-256 and no damage is found.
    """
    from faceops.gallery.archive import import_gallery

    return _shown(args, import_gallery(args.archive, args.gallery), f"{args.gallery} imported")


def _shown(args: argparse.Namespace, gallery: "Gallery", done: str, **more: object) -> int:
    people, faces = len(gallery.people), len(gallery.faces)
    content = {
        "gallery": str(args.gallery),
        "archive": str(args.archive),
        "people": people,
        "faces": faces,
        "contract_id": gallery.contract_id,
        "gallery_format": gallery.format_version,
        **more,
    }
    line = f"{done}, {people} people, {faces} faces, contract {gallery.contract_id[:12]}"
    return cli.show(args, content, line)


def _check(args: argparse.Namespace) -> int:
    """Check a gallery and output folders for damage; exit code 1 if there is any.

    Each line names what is wrong, what is lost by it and what is not. A note is no damage: the next
    change corrects it, or a repair has reported it. Nothing is changed.
    """
    from faceops.gallery.check import check_gallery
    from faceops.identification.repair import check_output

    found = {gallery: check_gallery(gallery) for gallery in _galleries(args)}
    found |= {out: check_output(out) for out in args.out}
    lines = [str(finding) for findings in found.values() for finding in findings]
    damaged = {folder for folder in found if any(one.is_damage for one in found[folder])}
    lines += [f"{folder}: {'damaged' if folder in damaged else 'sound'}" for folder in found]
    content = {
        str(folder): {"sound": folder not in damaged, "findings": list(map(asdict, findings))}
        for folder, findings in found.items()
    }
    cli.show(args, content, lines)
    return 1 if damaged else 0


def _repair(args: argparse.Namespace) -> int:
    """Repair a gallery and output folders, keeping all that can be kept.

    The files as they were are kept in a folder damaged-TIME beside them. Exit code 1 if something
    could not be repaired.
    """
    from faceops.gallery.check import repair_gallery
    from faceops.identification.repair import repair_output

    done = {gallery: repair_gallery(gallery) for gallery in _galleries(args)}
    done |= {out: repair_output(out) for out in args.out}
    lines: list[str] = []
    for folder, repair in done.items():
        lines += map(str, repair.before)
        if repair.backup is None:
            lines.append(f"{folder}: nothing to repair")
            continue
        lines.append(
            f"{folder}: repaired; the files as they were are in {repair.backup}: delete that "
            "folder when it is not needed, `people forget` cannot change it"
        )
        lines += [f"after the repair: {finding}" for finding in repair.after]
    content = {
        str(folder): {**asdict(repair), "backup": repair.backup and str(repair.backup)}
        for folder, repair in done.items()
    }
    cli.show(args, content, lines)
    return int(any(one.is_damage for repair in done.values() for one in repair.after))


def _galleries(args: argparse.Namespace) -> list[Path]:
    """Return the gallery that is named; the default one only without --out."""
    return [args.gallery] if args.gallery else [] if args.out else [Path("gallery")]
