"""`faceops gallery`: export, import, check and repair."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.cli import common
from faceops.photos.folders import GALLERY, RESULTS, Use

if TYPE_CHECKING:
    from faceops.gallery.store import Gallery


def add_parser(subparsers: Any) -> None:
    """Add `faceops gallery` with its actions."""
    text = "export, import, check and repair a gallery"
    actions = common.add_group(subparsers, "gallery", help=text)
    for run, use in ((_export, Use.READ), (_import, Use.WRITE)):
        parser = common.add_command(actions, run)
        parser.add_argument("archive", type=Path, metavar="FILE", help="the archive, a tar file")
        common.add_folder(parser, "--gallery", GALLERY, use, default="gallery")
    for run in (_check, _repair):
        parser = common.add_command(actions, run)
        text = "the gallery (default: gallery, or none with --out)"
        common.add_folder(parser, "--gallery", GALLERY, help=text)
        text = "an output folder of identify, whose state and records are checked too"
        common.add_folder(parser, "--out", RESULTS, action="append", default=[], help=text)


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
    return common.show(args, content, line)


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
    common.show(args, content, lines)
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
    common.show(args, content, lines)
    return int(any(one.is_damage for repair in done.values() for one in repair.after))


def _galleries(args: argparse.Namespace) -> list[Path]:
    """Return the gallery that is named; the default one only without --out."""
    return [args.gallery] if args.gallery else [] if args.out else [Path("gallery")]
