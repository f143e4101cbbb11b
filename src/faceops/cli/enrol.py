"""`faceops enrol`: bring a gallery up to date with a folder of known people."""

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path

from faceops.cli.bundle_argument import add_bundle_arguments, load_bundle


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "enrol",
        help="enrol known people into a gallery",
        description="Enrol the people of PEOPLE_DIR: Name/photo.jpg or Name.jpg. Run it again "
        "after adding photos; what is enrolled is not opened again.",
    )
    parser.add_argument("people_dir", type=Path, metavar="PEOPLE_DIR")
    parser.add_argument(
        "--gallery", type=Path, default=Path("gallery"), metavar="DIR", help="(default: gallery)"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove faces whose photo PEOPLE_DIR no longer has; "
        "what cannot be read just now stays",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="enrol also a face that is unlike its person's other photos",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_bundle_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from faceops.base.errors import UsageError
    from faceops.base.parallel import usable_cpus
    from faceops.gallery.enrol import enrol

    if not args.people_dir.is_dir():
        raise UsageError(f"{args.people_dir} is not a folder; name the folder of known people.")
    report = enrol(
        args.people_dir,
        args.gallery,
        load_bundle(args),
        prune=args.prune,
        trust=args.trust,
        threads=min(8, usable_cpus()),
    )
    if args.json:
        print(json.dumps({**asdict(report), "gallery": str(args.gallery)}, ensure_ascii=False))
        return 0
    for flag in report.flags:
        print(f"not enrolled: {flag.photo} ({flag.reason}): {flag.note}")
    for move in report.moved:
        print(f"moved: the face of {move.photo} from {move.before} to {move.person}")
    for earlier, person in report.aliases.items():
        print(
            f"{earlier} is enrolled as {person}; if they are two people: "
            f"faceops people unalias {shlex.quote(earlier)} --gallery {args.gallery}"
        )
    for person, spellings in report.spellings.items():
        print(f"one person: {person} is also written {', '.join(spellings)}")
    faces = sum(report.people.values())
    print(
        f"{args.gallery}: {len(report.people)} people, {faces} faces; "
        f"{report.enrolled} enrolled now, {report.unchanged} unchanged, "
        f"{len(report.flags)} photos not enrolled"
        + (f", {len(report.moved)} moved" if report.moved else "")
        + (f", {report.pruned} faces removed" if args.prune else "")
    )
    return 0
