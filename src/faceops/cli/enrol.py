"""`faceops enrol`: bring a gallery up to date with a folder of known people."""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faceops.cli.bundle_argument import add_bundle_arguments, load_bundle
from faceops.cli.common import add_command, add_folder, require_folder, show


def add_parser(subparsers: Any) -> None:
    """Add `faceops enrol`."""
    parser = add_command(
        subparsers,
        "enrol",
        _run,
        help="enrol known people into a gallery",
        description="Enrol the people of PEOPLE_DIR: Name/photo.jpg or Name.jpg. Run it again "
        "after adding photos; what is enrolled is not opened again.",
    )
    parser.add_argument("people_dir", type=Path, metavar="PEOPLE_DIR")
    add_folder(parser, "--gallery", "gallery")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove faces whose photo PEOPLE_DIR no longer has; "
        "those of photos that cannot be read stay",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="enrol also a face that is unlike its person's other photos",
    )
    add_bundle_arguments(parser)


def _run(args: argparse.Namespace) -> int:
    from faceops.base.parallel import usable_cpus
    from faceops.gallery.enrol import enrol

    require_folder(args.people_dir, "name the folder of known people")
    report = enrol(
        args.people_dir,
        args.gallery,
        load_bundle(args),
        prune=args.prune,
        trust=args.trust,
        threads=min(8, usable_cpus()),
    )
    lines = [f"not enrolled: {flag.photo} ({flag.reason}): {flag.note}" for flag in report.flags]
    lines += [
        f"moved: the face of {move.photo} from {move.before} to {move.person}"
        for move in report.moved
    ]
    lines += [
        f"{earlier} is enrolled as {person}; if they are two people: "
        f"faceops people unalias {shlex.quote(earlier)} --gallery {args.gallery}"
        for earlier, person in report.aliases.items()
    ]
    lines += [
        f"one person: {person} is also written {', '.join(spellings)}"
        for person, spellings in report.spellings.items()
    ]
    lines.append(
        f"{args.gallery}: {len(report.people)} people, {sum(report.people.values())} faces; "
        f"{report.enrolled} enrolled now, {report.unchanged} unchanged, "
        f"{len(report.flags)} photos not enrolled"
        + (f", {len(report.moved)} moved" if report.moved else "")
        + (f", {report.pruned} faces removed" if args.prune else "")
    )
    return show(args, {**asdict(report), "gallery": str(args.gallery)}, lines)
