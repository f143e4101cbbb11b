"""`faceops name`: give a name to a person whom identify could only number."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from faceops.commands.bundle_argument import add_bundle_arguments, load_bundle


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    from faceops.identification.name_unknown import name_unknown
    from faceops.identification.unknown_numbers import unknown_number

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
