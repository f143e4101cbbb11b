"""What people decide about faces: `faceops review`, the web page, and `faceops decisions`."""

import argparse
import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops import cli
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import valid_unicode
from faceops.cli.model_choice import add_bundle_arguments, load_bundle
from faceops.photos.folders import GALLERY, RESULTS, Use

if TYPE_CHECKING:
    from faceops.gallery.decisions import Decisions
    from faceops.gallery.history import Conflict
    from faceops.gallery.journal import Entry
    from faceops.gallery.storage import GalleryPlace
    from faceops.review.album import Album

_LOOPBACK = "127.0.0.1"
_MOST_PORT = 65_535
NOT_STATED = "(not stated)"


def add_parser(subparsers: Any) -> None:
    parser = cli.add_command(subparsers, _review)
    text = "the results of identify"
    cli.add_folder(parser, "--out", RESULTS, Use.WRITE, required=True, help=text)
    text = "(default: that of the results)"
    cli.add_folder(parser, "--gallery", GALLERY, Use.WRITE, help=text)
    cli.add_by(parser)
    text = "a free port is taken if the usual one is in use (default: 8765)"
    parser.add_argument("--port", type=_port, metavar="N", help=text)
    parser.add_argument(
        "--host",
        default=_LOOPBACK,
        help="listen on another address than this machine's own (default: %(default)s); needs "
        "--password-file",
    )
    text = "ask for the password in the first line of this file instead of the token in the address"
    parser.add_argument("--password-file", type=Path, metavar="FILE", help=text)
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    text = "at the end leave the results as they are; the next identify obeys the decisions too"
    parser.add_argument("--no-publish", action="store_true", help=text)
    add_bundle_arguments(parser)
    text = "list, undo, export and import what people decided about faces and people"
    actions = cli.add_group(subparsers, "decisions", help=text)
    listing = cli.add_command(actions, _list)
    which = listing.add_mutually_exclusive_group()
    text = "only decisions about this person"
    which.add_argument("--person", metavar="NAME", type=valid_unicode, help=text)
    text = "faces about which two reviewers (--by) decided differently"
    which.add_argument("--conflicts", action="store_true", help=text)
    text = "lines, the latest counted (default: %(default)s)"
    listing.add_argument("--limit", type=cli.positive, default=50, metavar="N", help=text)
    undoing = cli.add_command(actions, _undo)
    text = "id of a batch or entry, as list and export show it, or its first digits"
    undoing.add_argument("decision", metavar="DECISION", nargs="?", default="", help=text)
    text = "undo the latest batch that counts; again, the one before it"
    undoing.add_argument("--last", action="store_true", help=text)
    cli.add_by(undoing)
    exporting = cli.add_command(actions, _export)
    text = "JSON lines; left out, they are printed"
    exporting.add_argument("file", type=Path, metavar="FILE", nargs="?", help=text)
    importing = cli.add_command(actions, _import)
    importing.add_argument("file", type=Path, metavar="FILE", help="what export wrote")
    for parser in (listing, exporting):
        cli.add_folder(parser, "--gallery", GALLERY, default="gallery")
    for parser in (undoing, importing):
        cli.add_folder(parser, "--gallery", GALLERY, Use.WRITE, default="gallery")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= _MOST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to {_MOST_PORT}")
    return int(text)


def _review(args: argparse.Namespace) -> int:
    """Confirm, correct and name faces on a web page.

    The page shows the results in --out and is for this machine only. A decision counts on the page
    at once, and in the results when it is published: by the button on the page, and when the
    command ends (Ctrl-C).
    """
    from faceops.gallery.store import Gallery
    from faceops.review.album import Album
    from faceops.review.pages import create_app
    from faceops.review.server import Access, Server, is_loopback, listen, read_password

    password = read_password(args.password_file) if args.password_file else ""
    if not (password or is_loopback(args.host)):
        raise UsageError(
            f"with --host {args.host} other machines reach the page: protect it by "
            "--password-file FILE, or leave --host out."
        )
    args.gallery = args.gallery or gallery_of(args.out)
    gallery = Gallery.open(args.gallery)  # wrong arguments first: loading a release takes a second
    bundle = load_bundle(args, gallery)
    with contextlib.closing(Album(args.out, args.gallery, bundle, cli.decided_by(args))) as album:
        listener = listen(args.host, args.port)
        access = Access(args.host, listener.getsockname()[1], password)
        if not is_loopback(args.host):
            print(
                "faceops review: who reaches this address and knows the password sees the photos "
                "and decides about them. The connection is not encrypted: others in the network "
                "can read along. Safer: leave --host out, and from the other machine "
                f"ssh -L {access.port}:localhost:{access.port}",
                file=sys.stderr,
            )
        cli.show(args, {"url": access.url}, f"open {access.url}\nend with Ctrl-C")
        sys.stdout.flush()
        if not args.no_browser and _has_screen():
            url = access.url_for_once()
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        Server(create_app(album, access), listener).run_until_stopped()
        return _publish(args, album)


def gallery_of(out: Path) -> "GalleryPlace":
    """Return the gallery that the results in `out` were made with.

    Raises UsageError: there are no results, they do not say it, or its folder was moved.
    """
    from faceops.gallery.storage import gallery_place
    from faceops.identification.latest_run import latest_run

    if not (noted := latest_run(out).summary.gallery):
        raise UsageError(f"the results in {out} do not say with which gallery: add --gallery DIR.")
    if isinstance(place := gallery_place(noted), Path) and not place.is_dir():
        raise UsageError(f"{place}, the gallery of {out}, is not there: add --gallery DIR.")
    return place


def _has_screen() -> bool:
    """Return whether a browser can open a window; on a bare terminal one would take that over."""
    named = map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))
    return sys.platform == "darwin" or any(named)


def _publish(args: argparse.Namespace, album: "Album") -> int:
    """Write the decisions into the results; return the exit code."""
    if not (count := album.status.unpublished):
        return 0
    decisions = "1 decision is" if count == 1 else f"{count} decisions are"
    if args.no_publish:
        print(
            f"{decisions} not in the results yet; the next faceops identify obeys them",
            file=sys.stderr,
        )
        return 0
    print(f"{decisions} published into {args.out}; Ctrl-C leaves it to identify", file=sys.stderr)
    album.publish(wait=True)
    if error := album.status.error:
        raise FaceOpsError(error)
    return 0


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
        return cli.show(
            args, list(map(asdict, conflicts)), lines or "no conflicts between reviewers"
        )
    batches = batches_of(decisions)
    if args.person is not None:
        if not (person := decisions.current(decisions.person_named(args.person))):
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
    return cli.show(args, list(map(asdict, rows)), lines or "no decisions")


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
    batch, changes = undo(args.gallery, args.decision, by=cli.decided_by(args))
    decisions = _load(args.gallery)
    row = made(decisions, batch, batches_of(decisions)[batch])
    lines = [row.sentence, *changes, "the next identify obeys it, without opening photos"]
    lines.append(f"to take that back: faceops decisions undo {batch}")
    return cli.show(args, asdict(row) | {"changes": changes}, lines)


def _export(args: argparse.Namespace) -> int:
    """Write all decisions as JSON lines, for another machine or as a backup.

    They hold names and places of faces: `faceops people forget` does not reach the file.
    """
    from faceops.base.files import write_file
    from faceops.gallery.history import as_lines

    decisions = _load(args.gallery)
    text = as_lines(decisions.entries.values())
    if args.file is None:
        sys.stdout.buffer.write(text.encode())
        return 0
    if args.file.is_dir():
        raise UsageError(f"{args.file} is a folder; name a file.")
    write_file(args.file, text)
    count = len(decisions.entries)
    content = {"file": str(args.file), "entries": count}
    return cli.show(args, content, f"{args.file}: {count} entries")


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
    return cli.show(args, asdict(done), lines)
