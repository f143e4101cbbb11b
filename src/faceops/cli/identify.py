"""`faceops identify`: name the people in a folder of photos; `faceops name`: an unknown one."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops import cli
from faceops.base.reasons import Reason
from faceops.base.stores import is_url, place, shown
from faceops.cli import model_choice
from faceops.photos.folders import GALLERY, PHOTOS, RESULTS, Use
from faceops.photos.formats import closed_formats

if TYPE_CHECKING:
    from faceops.identification.inputs import IdentifySettings
    from faceops.identification.summary import Summary

MOST_ERRORS = 10


def add_parser(subparsers: Any) -> None:
    parser = cli.add_command(subparsers, _identify)
    text = "a folder, one photo, or a URL such as s3://bucket/2019"
    cli.add_folder(parser, "photos_dir", PHOTOS, metavar="PHOTOS_DIR", type=place, help=text)
    cli.add_folder(parser, "--gallery", GALLERY, Use.WRITE, default="gallery")
    text = "for the results, or a URL to copy them to, such as s3://bucket/results"
    cli.add_folder(parser, "--out", RESULTS, Use.WRITE, required=True, type=place, help=text)
    text = "where --out is a URL: the folder of state and results (default: one in the cache)"
    cli.add_folder(parser, "--state", RESULTS, Use.WRITE, help=text)
    text = "share of strangers that may be given a name, e.g. 0.01 (default: the release's)"
    parser.add_argument("--budget", type=float, metavar="SHARE", help=text)
    parser.add_argument(
        "--detail",
        type=int,
        metavar="PIXELS",
        help="search large photos in tiles too, scaled to this longest side: more finds smaller "
        "faces and takes longer, 0 searches only the whole photo (default: 1280)",
    )
    cli.add_exclude(parser)
    cli.add_photo_limits(parser)
    parser.add_argument("--annotate", action="store_true", help="draw boxes and names on copies")
    parser.add_argument(
        "--xmp",
        action="store_true",
        help="write face regions and names into XMP sidecars beside the photos (photo.jpg.xmp); "
        "entries of other programs are kept",
    )
    parser.add_argument(
        "--keep-crops",
        action="store_true",
        help="keep the aligned faces of photos that are opened from now on in the state of --out: "
        "when the model changes but the crops are the same, they are re-embedded without opening "
        "the photos. It is more biometric data, about 15 kB a face",
    )
    parser.add_argument(
        "--max-failed-share",
        type=float,
        metavar="SHARE",
        help="share of the photos that may fail for lack of memory, a disk or a share; more end "
        "the run and the earlier results stay (default: 0.1)",
    )
    text = "accept that all photos of the latest run are gone; else that is a missing disk"
    parser.add_argument("--allow-empty", action="store_true", help=text)
    text = "read every photo again, also where the file looks unchanged; known bytes are not opened"
    parser.add_argument("--recheck", action="store_true", help=text)
    text = "runs to keep in DIR/runs, the latest counted; older ones are removed (default: 30)"
    parser.add_argument("--keep-runs", type=int, metavar="N", help=text)
    parser.add_argument("--threads", type=int, metavar="N", help="(default: one a core, at most 8)")
    model_choice.add_bundle_arguments(parser)
    naming = cli.add_command(subparsers, _name)
    naming.add_argument("unknown", metavar="UNKNOWN", help="such as unknown-007")
    naming.add_argument("name", metavar="NAME")
    text = "the results of identify"
    cli.add_folder(naming, "--out", RESULTS, Use.WRITE, required=True, help=text)
    text = "also where the faces are unlike those that are enrolled as NAME"
    naming.add_argument("--trust", action="store_true", help=text)
    model_choice.add_bundle_arguments(naming)
    cli.add_folder(naming, "--gallery", GALLERY, Use.WRITE, default="gallery")


def _identify(args: argparse.Namespace) -> int:
    """Name the people in photos.

    Find every face below PHOTOS_DIR (or in one photo) and name the enrolled people. Photos that an
    earlier run into the same --out has seen are not opened again. What is known of photos that are
    gone is dropped by the first run after 30 days.
    """
    from faceops.identification.inputs import IdentifySettings, require_photos
    from faceops.identification.records.output_folder import copy_results, results_folder

    # Wrong arguments first, then whether anything has changed: loading a release takes a second.
    fields = IdentifySettings.__dataclass_fields__
    given = {key: value for key, value in vars(args).items() if key in fields and value is not None}
    settings = IdentifySettings(**given, limits=cli.photo_limits(args))
    require_photos(args.photos_dir)  # `main` has checked the folders
    url, args.out = args.out, results_folder(args.out, args.photos_dir, args.state)
    summary = _reuse_if_unchanged(args, settings) or _run(args, settings)
    copied = copy_results(args.out)
    lines = result_lines(summary, args.out)
    if is_url(url):
        lines.append(f"the copy in {shown(url)} is complete ({copied} objects put or deleted)")
    return cli.show(args, summary.as_dict(), lines)


def _reuse_if_unchanged(args: argparse.Namespace, settings: "IdentifySettings") -> "Summary | None":
    from faceops.gallery.storage import storage_of
    from faceops.identification.latest_run import UnloadedRelease, reuse_if_unchanged
    from faceops.release.release_file import default_budget

    gallery = storage_of(args.gallery)
    if not gallery.stamp():
        return None  # opening the gallery says what is wrong with it
    release = UnloadedRelease(*model_choice.bundle_folder(args, gallery.contract_id()))
    precision, _ = model_choice.choose_precision(args.precision, release.folder, args.gallery)
    budget = settings.budget or default_budget(release.folder, precision)
    if budget is None:
        return None
    settings = replace(settings, budget=budget, precision=precision)
    return reuse_if_unchanged(args.photos_dir, args.gallery, release, args.out, settings)


def _run(args: argparse.Namespace, settings: "IdentifySettings") -> "Summary":
    from faceops.gallery.store import Gallery
    from faceops.identification.run import identify

    gallery = Gallery.open(args.gallery)  # if it is unusable, before the release is loaded
    bundle = model_choice.load_bundle(args, gallery)
    gallery.require(bundle.release.contract_id)
    return identify(args.photos_dir, gallery, bundle, args.out, settings)


def _name(args: argparse.Namespace) -> int:
    """Give an unknown person of the latest results a name.

    Name unknown-007, as the report and unknown.csv show them, and decide the photos of --out again.
    The faces keep that name; those that are good enough enter the gallery. A person who is already
    enrolled gets the faces, if they are like the person's others.
    """
    from faceops.gallery.store import Gallery
    from faceops.identification.unknown.name_unknown import name_unknown
    from faceops.identification.unknown.unknown_people import unknown_number

    unknown_number(args.unknown)  # wrong arguments first: loading a release takes a second
    bundle = model_choice.load_bundle(args, Gallery.open(args.gallery))
    done = name_unknown(args.unknown, args.name, args.gallery, bundle, args.out, None, args.trust)
    lines = [
        f"{done.unknown} is {done.person}: {done.faces} faces confirmed, {done.enrolled} enrolled; "
        f"{done.person} is named in {done.summary.people.get(done.person, 0)} faces"
    ]
    lines += result_lines(done.summary, args.out)
    return cli.show(args, {**asdict(done), "summary": done.summary.as_dict()}, lines)


def result_lines(summary: "Summary", out: Path) -> list[str]:
    """Return what a run found and what it could not do, a sentence a line."""
    from faceops.identification.summary import promise

    lines = [summary.release_note] if summary.release_note else []
    if summary.unchanged:
        return [
            *lines,
            f"nothing has changed since {summary.started}: {summary.photos} photos, "
            f"{summary.identified} faces named; the results of run {summary.run_id} are in {out}",
        ]
    again = f", {summary.photos_reembedded} re-embedded" if summary.photos_reembedded else ""
    known = f" ({summary.photos_reused} known from before{again})" if summary.photos_reused else ""
    lines.append(
        f"{summary.faces} faces found in {summary.photos} photos{known}, "
        f"{summary.identified} named: {len(summary.people)} of {summary.known_people} people"
    )
    turned = "photos were turned: their faces do not stand upright"
    lines += _counted(summary.photos_turned, turned)
    reasons = dict(sorted(summary.reasons.items()))
    confirmed = reasons.pop(Reason.CONFIRMED, 0)
    lines += _counted(confirmed, "faces have the name that a person confirmed")
    if reasons:
        listed = [f"{count} {reason}" for reason, count in reasons.items()]
        lines.append(f"without a name: {', '.join(listed)}")
    lines += _gallery_lines(summary, out)
    if Reason.UNSUPPORTED_FORMAT in summary.reasons and (closed := closed_formats()):
        names = ", ".join(one.name for one in closed)
        extras = ",".join(one.extra for one in closed)
        lines.append(f"photos in a format of {names} need: pip install 'faceops[{extras}]'")
    lines += [promise(summary)] if summary.album else []
    lines += [
        f"drift in {drift.what} ({drift.level}, PSI {drift.psi:.2f}): {drift.advice}"
        for drift in summary.drift
        if drift.advice
    ]
    lines += cli.skipped_line(summary.skipped)
    lines += _counted(summary.excluded, "photos of the latest run are excluded now")
    lines += _counted(summary.vanished, "photos of the latest run are missing now")
    lines += _counted(summary.moved, "photos moved: found at a new path")
    unlisted = [
        f"the folder {folder} could not be listed: the stored data of its photos is kept"
        for folder in summary.unlisted
    ]
    lines += _first(unlisted, "folders", out)
    lines += _counted(
        summary.unknown_people,
        "unknown people were seen in several photos: look at the report; faceops name enrols one",
    )
    lines += _counted(
        len(summary.failures),
        "photos could not be read this time; what is known of them is kept, and the next run tries "
        "again",
    )
    lines += _first(summary.failures, "photos", out)
    if not summary.known_to_gallery:
        lines.append(f"the gallery is read-only; pass --out {out} when you forget someone")
    if summary.letters_not_drawn:
        from faceops.identification.records.label_fonts import advice

        lines.append(advice(summary.letters_not_drawn))
    lines += _counted(summary.sidecars_written, "sidecars written beside the photos")
    withdrawn = "sidecars of photos that are gone, moved or excluded: entries of FaceOps removed"
    lines += _counted(summary.sidecars_withdrawn, withdrawn)
    lines += _first(summary.sidecar_errors, "sidecars", out)
    tagged = [
        f"{one.photo}: tagged {one.tagged}, named {one.person}" for one in summary.tagged_otherwise
    ]
    otherwise = "faces have another name in tags of other programs, which stay as they are:"
    lines += [*_counted(len(tagged), otherwise), *_first(tagged, "faces", out)]
    embedder = f", embedder in {summary.precision}, device: {summary.device}"
    embedder = embedder if summary.photos_opened or summary.photos_reembedded else ""
    lines.append(
        f"{summary.seconds:.1f} s, {summary.photos_per_second:.1f} photos/s{embedder}; look at "
        f"{out / 'report.html'}, read {out / 'faces.csv'}"
    )
    return lines


def _gallery_lines(summary: "Summary", out: Path) -> list[str]:
    lines = _counted(summary.admitted, "confirmed faces entered the gallery")
    left = "faces left the gallery, as they are not confirmed any more"
    lines += _counted(summary.withdrawn, left)
    only_named = [f"named, but not enrolled: {sentence}" for sentence in summary.not_admitted]
    lines += _first(only_named, "faces", out)
    if summary.gallery_note:
        lines.append(f"confirmed faces did not enter the gallery: {summary.gallery_note}")
    return lines


def _counted(count: int, sentence: str) -> list[str]:
    """Return the sentence after its count; nothing for a count of 0."""
    return [f"{count} {sentence}"] if count else []


def _first(lines: list[str], what: str, out: Path) -> list[str]:
    """Return the first MOST_ERRORS lines and how many more there are."""
    more = len(lines) - MOST_ERRORS
    if more <= 0:
        return lines
    return [*lines[:MOST_ERRORS], f"... and {more} more {what}, all in {out / 'summary.json'}"]
