"""`faceops decisions`: list, undo, export and import what people decided."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import common
from faceops.photos.folders import GALLERY, Use

if TYPE_CHECKING:
    from faceops.gallery.decisions import Decisions
    from faceops.gallery.history import Conflict
    from faceops.gallery.journal import Entry
    from faceops.gallery.storage import GalleryPlace

NOT_STATED = "(not stated)"


def add_parser(subparsers: Any) -> None:
    """Add `faceops decisions` with its actions."""
    text = "list, undo, export and import what people decided about faces and people"
    actions = common.add_group(subparsers, "decisions", help=text)
    listing = common.add_command(actions, _list)
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--person", metavar="NAME", help="only decisions about this person")
    text = "faces about which two reviewers (--by) decided differently"
    which.add_argument("--conflicts", action="store_true", help=text)
    text = "lines, the latest counted (default: %(default)s)"
    listing.add_argument("--limit", type=common.positive, default=50, metavar="N", help=text)
    undoing = common.add_command(actions, _undo)
    text = "id of a batch or entry, as list and export show it, or its first digits"
    undoing.add_argument("decision", metavar="DECISION", nargs="?", default="", help=text)
    text = "undo the latest batch that counts; again, the one before it"
    undoing.add_argument("--last", action="store_true", help=text)
    common.add_by(undoing)
    exporting = common.add_command(actions, _export)
    text = "JSON lines; left out, they are printed"
    exporting.add_argument("file", type=Path, metavar="FILE", nargs="?", help=text)
    importing = common.add_command(actions, _import)
    importing.add_argument("file", type=Path, metavar="FILE", help="what export wrote")
    for parser in (listing, exporting):
        common.add_folder(parser, "--gallery", GALLERY, default="gallery")
    for parser in (undoing, importing):
        common.add_folder(parser, "--gallery", GALLERY, Use.WRITE, default="gallery")


def _list(args: argparse.Namespace) -> int:
    """List decisions, the latest first, a line for those that were made together.

    A line has the batch, by which `decisions undo` undoes it, the time in UTC, who decided, what,
    and whether it is undone.
    """
    from faceops.gallery.history import batches_of, find_conflicts, made

    decisions = _load(args.gallery)
    if args.conflicts:
        conflicts = find_conflicts(decisions, lambda entry: entry.by or NOT_STATED)
        lines = list(_conflict_lines(conflicts))
        return common.show(
            args, list(map(asdict, conflicts)), lines or "no conflicts between reviewers"
        )
    batches = batches_of(decisions)
    if args.person is not None:
        person = decisions.current(decisions.person_named(args.person))
        if not person:
            raise FaceOpsError(f"nothing was decided about {args.person}.")
        batches = {
            batch: entries
            for batch, entries in batches.items()
            if any(_concerns(decisions, decisions.subject(entry), person) for entry in entries)
        }
    latest = list(reversed(batches.items()))[: args.limit]
    rows = [made(decisions, batch, entries) for batch, entries in latest]
    lines = [
        f"{row.batch}  {row.time[:10]} {row.time[11:19]}  {row.by or '-'}  {row.sentence}"
        + (" (undone)" if row.undone else "")
        for row in rows
    ]
    if more := len(batches) - len(latest):
        lines.append(f"{more} more; --limit lists them")
    return common.show(args, list(map(asdict, rows)), lines or "no decisions")


def _concerns(decisions: "Decisions", entry: "Entry", person: str) -> bool:
    about = (entry.person, entry.detail if entry.action == "merge" else entry.person)
    return person in map(decisions.current, about)


def _load(gallery: "GalleryPlace") -> "Decisions":
    from faceops.gallery.decisions import Decisions
    from faceops.gallery.storage import storage_of

    storage_of(gallery).statement()  # says that there is no gallery
    return Decisions.load(gallery)


def _conflict_lines(conflicts: Iterable["Conflict"]) -> Iterable[str]:
    for conflict in conflicts:
        box = " ".join(f"{value:.0f}" for value in conflict.box)
        told = "; ".join(f"{one.side}: {one.what} ({one.time[:19]})" for one in conflict.verdicts)
        yield (
            f"conflict: photo {conflict.photo_id[:12]}, face at {box}: {told}; the later one "
            f"holds: {conflict.holds.what}"
        )


def _undo(args: argparse.Namespace) -> int:
    """Undo decisions that were made together, or one of them.

    What was undone is said, and what changes in the gallery: merged people are two again, renamed
    ones have their earlier name. An undoing is a decision too, and can be undone.
    """
    from faceops.gallery.history import batches_of, made, undo

    if bool(args.decision) == args.last:
        raise UsageError("name one decision, as `faceops decisions list` shows it, or give --last.")
    batch, changes = undo(args.gallery, args.decision, by=common.decided_by(args))
    decisions = _load(args.gallery)
    row = made(decisions, batch, batches_of(decisions)[batch])
    lines = [row.sentence, *changes, "the next identify obeys it, without opening photos"]
    lines.append(f"to take that back: faceops decisions undo {batch}")
    return common.show(args, asdict(row) | {"changes": changes}, lines)


def _export(args: argparse.Namespace) -> int:
    """Write all decisions as JSON lines, for another machine or as a backup.

    They hold names and places of faces: `faceops people forget` does not reach the file.
    """
    from faceops.base.files import write_file
    from faceops.gallery.history import as_lines

    decisions = _load(args.gallery)
    text = as_lines(decisions.entries.values())
    if args.file is None:
        sys.stdout.write(text)
        return 0
    write_file(args.file, text)
    count = len(decisions.entries)
    content = {"file": str(args.file), "entries": count}
    return common.show(args, content, f"{args.file}: {count} entries")


def _import(args: argparse.Namespace) -> int:
    """Add the decisions of another machine.

    Every line is checked first. Decisions are applied in the order of their time, so that both
    machines amount to the same once each has imported the other's; faces about which the two sides
    decided differently are listed, and the later decision holds. Renamed and merged people change
    in this gallery too. Decisions about people who were forgotten here come back.
    """
    from faceops.gallery.history import import_decisions

    done = import_decisions(args.gallery, args.file)
    lines = [*_conflict_lines(done.conflicts), *done.changes, *done.refused]
    lines.append(
        f"{done.new} entries imported, {done.known} were known; {len(done.conflicts)} conflicts"
    )
    return common.show(args, asdict(done), lines)
