"""`faceops review`: the web page on which people review the results of identify."""

import argparse
import contextlib
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.cli import common
from faceops.photos.folders import GALLERY, RESULTS, Use

if TYPE_CHECKING:
    from faceops.gallery.storage import GalleryPlace
    from faceops.review.album import Album

_LOOPBACK = "127.0.0.1"
_MOST_PORT = 65_535


def add_parser(subparsers: Any) -> None:
    """Add `faceops review`."""
    parser = common.add_command(subparsers, _review)
    text = "the results of identify"
    common.add_folder(parser, "--out", RESULTS, Use.WRITE, required=True, help=text)
    text = "(default: that of the results)"
    common.add_folder(parser, "--gallery", GALLERY, Use.WRITE, help=text)
    common.add_by(parser)
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
    common.add_bundle_arguments(parser)


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
    bundle = common.load_bundle(args, gallery)
    with contextlib.closing(
        Album(args.out, args.gallery, bundle, common.decided_by(args))
    ) as album:
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
        common.show(args, {"url": access.url}, f"open {access.url}\nend with Ctrl-C")
        sys.stdout.flush()
        if not args.no_browser and _has_screen():
            url = access.url_for_once()
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        Server(create_app(album, access), listener).run_until_stopped()
        return _publish(args, album)


def gallery_of(out: Path) -> "GalleryPlace":
    """Return the gallery that the results in `out` were made with.

    Raises:
        UsageError: there are no results, or they do not say it.
    """
    from faceops.gallery.storage import gallery_place
    from faceops.identification.latest_run import latest_run

    noted = latest_run(out).summary.gallery
    if not noted:
        raise UsageError(f"the results in {out} do not say with which gallery: add --gallery DIR.")
    return gallery_place(noted)


def _has_screen() -> bool:
    """Return whether a browser can open a window; on a bare terminal one would take that over."""
    on_desktop = sys.platform in ("darwin", "win32")
    return on_desktop or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _publish(args: argparse.Namespace, album: "Album") -> int:
    """Write the decisions into the results; return the exit code."""
    count = album.status.unpublished
    if not count:
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
