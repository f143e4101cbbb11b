"""Name the people in a folder of photos: one run, from the walk to the published files."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import folder_lock
from faceops.base.parallel import usable_cpus
from faceops.gallery.names import valid_unicode
from faceops.gallery.outputs import remember_output
from faceops.gallery.store import Gallery
from faceops.identification.drift import DriftMeter
from faceops.identification.engine.engine import NamedPhoto, Rule, name_photos
from faceops.identification.engine.extract import Looker
from faceops.identification.records.output_folder import (
    ANNOTATED,
    FACES_FILE,
    REPORT_FILE,
    STATE_FILE,
    latest_drawings,
    publish,
    remove_old_runs,
    run_folder,
)
from faceops.identification.records.records import photos_of, records_of
from faceops.identification.records.reuse import (
    FolderDigest,
    decided_by,
    photos_below,
    run_that_stands,
    still_stands,
)
from faceops.identification.records.writers import RecordWriters
from faceops.identification.report.report import Report
from faceops.identification.settings import IdentifySettings
from faceops.identification.sidecars.sidecars import with_sidecars
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.schema import method_of
from faceops.identification.summary import (
    PartClock,
    Summary,
    about_run,
    write_manifest,
    write_summary,
)
from faceops.identification.unknown.unknown_people import (
    UnknownFaces,
    find_unknown_people,
    write_unknown_people,
)
from faceops.release.bundle import Bundle


def begun(
    photos_dir: Path,
    gallery: Gallery,
    bundle: Bundle,
    settings: IdentifySettings,
) -> Summary:
    """Return the summary of a run that begins now, with an id of its own and no counts yet."""
    thresholds, enrolled = bundle.release.thresholds, len(gallery.faces)
    budget = settings.budget or thresholds.default_budget
    started = datetime.now(UTC)
    return Summary(
        run_id=f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        photos_folder=valid_unicode(str(photos_dir.resolve())),
        started=started.isoformat(timespec="seconds"),
        release=bundle.name,
        release_note=bundle.note,
        contract_id=bundle.release.contract_id,
        budget=budget,
        threshold=thresholds.for_search(budget, enrolled) if enrolled else None,
        threshold_measured=bool(enrolled) and thresholds.search_is_measured(budget, enrolled),
        runner_up_margin=thresholds.runner_up_margin,
        gallery_people=len(gallery.people),
        gallery_faces=enrolled,
        detail=settings.detail,
        annotate=settings.annotate,
        xmp=settings.xmp,
        keep_crops=settings.keep_crops,
        keep_runs=settings.keep_runs,
        checked=started.isoformat(timespec="seconds"),
    )


def check_folders(photos_dir: Path, out: Path, gallery: Path) -> None:
    """Refuse folders that cannot be right.

    Raises:
        UsageError: no photos there, or what is written would lie among the photos.
    """
    if not photos_dir.exists():
        raise UsageError(f"{photos_dir} does not exist; name a folder of photos, or one photo.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the results.")
    if not photos_dir.is_dir():
        return
    for what, folder in (("the results", out), ("the gallery", gallery)):
        if folder.resolve().is_relative_to(photos_dir.resolve()):
            raise UsageError(
                f"{folder} for {what} lies inside the photos' folder {photos_dir}, and the next "
                "run would take it for photos; name a folder outside."
            )


def write_rows(
    photos: Iterator[NamedPhoto],
    root: Path,
    folder: Path,
    summary: Summary,
    clock: PartClock,
    unknown: UnknownFaces,
    meter: DriftMeter,
) -> tuple[Report, list[Path]]:
    """Write the rows of all photos into `folder` while they come in, and count them.

    Returns the report, which has seen all photos, and the paths at which no file could be read.
    """
    report, files, unread = Report(root), FolderDigest(summary.xmp), list[Path]()
    below = len(root.as_posix().rstrip("/")) + 1
    with RecordWriters(folder) as writers:
        for photo in photos:
            path = valid_unicode(photo.path.as_posix()[below:])
            rows = records_of(
                summary.run_id,
                path,
                photo.photo,
                photo.decisions,
                summary.release,
                summary.contract_id,
            )
            with clock.part("write"):
                writers.write(rows)
                summary.add(photo)
                report.add(path, photo)
                unknown.add(photo)
                meter.add(photo)
                files.add_named(photo)
            if photo.file is None:
                unread.append(photo.path)
        with clock.part("write"):
            writers.flush()
    summary.saw = files.hexdigest()
    return report, unread


MAX_DEFAULT_THREADS = 8


def identify(
    photos_dir: Path,
    gallery: Gallery,
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> Summary:
    """Find and name the faces of every photo below `photos_dir` (or of one photo).

    Leaves faces.csv, faces.parquet, faces.jsonl, unknown.csv (people without a name), summary.json
    and report.html in `out`, each replaced at once, and the run's own copy in `out`/runs/<run_id>.
    Photos that an earlier run into `out` has seen are not opened again: an interrupted run
    continues, one with another gallery decides anew without opening photos, and where nothing has
    changed at all the latest run's results stand, and its summary comes back with `unchanged`.

    Raises:
        UsageError: a folder is wrong.
        FaceOpsError: the gallery is of another contract than the release; `out` is in use by
            another process or cannot be written; the folder is empty now and was not before.
    """
    check_folders(photos_dir, out, gallery.folder)
    gallery.require(bundle.release.contract_id)
    thresholds = bundle.release.thresholds
    budget = settings.budget or thresholds.default_budget
    settings = replace(settings, budget=budget, precision=bundle.release.precision)
    annotate, xmp, limits = settings.annotate, settings.xmp, settings.limits
    root, paths = photos_below(photos_dir)
    threads = settings.threads or min(MAX_DEFAULT_THREADS, usable_cpus())
    clock = PartClock()
    began = time.monotonic()
    method = method_of(bundle.release, limits, settings.detail)
    has_state = (out / STATE_FILE).is_file()  # before it is opened, and so made
    with (
        folder_lock(out),
        _writing_to(out),
        contextlib.closing(FaceStore(out / STATE_FILE, method)) as store,
    ):
        # Noted first, then read: a person who was forgotten while the folder was walked gets no
        # name, and one who is forgotten from here on is forgotten in `out` too.
        known_to_gallery = remember_output(gallery.folder, out, root if xmp else None)
        gallery = gallery.as_saved()
        summary = begun(photos_dir, gallery, bundle, settings)
        summary.decided_by = decided_by(gallery.stamp, bundle.folder, bundle.name, root, settings)
        summary.known_to_gallery = known_to_gallery
        if not paths and store.has_files_below(root):
            raise FaceOpsError(
                f"{photos_dir} is empty, and the latest run saw photos there: is the disk or share "
                f"connected? The results in {out} stay as they are."
            )
        latest = run_that_stands(out, summary.decided_by, paths) if has_state else None
        if latest is not None:
            known, note = summary.known_to_gallery, summary.release_note
            return still_stands(latest, out, known, note, settings)
        with (
            run_folder(out, summary.run_id) as folder,
            UnknownFaces(folder, gallery.embedding_size) as unknown,
        ):
            finder = bundle.face_finder(settings.detail)
            looker = Looker(bundle, finder, store, limits, clock, settings.keep_crops)
            sure = 1.0 if summary.threshold is None else summary.threshold
            rule = Rule(sure, thresholds.runner_up_margin, settings.policy)
            named = name_photos(paths, looker, gallery, rule, threads)
            earlier = latest_drawings(out) if annotate else None
            if annotate:
                from faceops.identification.records.drawings import with_drawings

                named = with_drawings(named, root, folder / ANNOTATED, earlier, limits, threads)
            if xmp:
                named = with_sidecars(named, summary)
            meter = DriftMeter(
                thresholds, summary.gallery_faces, budget, photos_of(out / FACES_FILE)
            )
            report, unread = write_rows(named, root, folder, summary, clock, unknown, meter)
            summary.drift = meter.result()
            with clock.part("group"):
                people = find_unknown_people(folder / FACES_FILE, unknown, bundle, out / STATE_FILE)
                write_unknown_people(people, folder)
            summary.unknown_people = len(people.people)
            summary.unknown_people_faces = people.grouped_faces
            report.add_unknown_people(people)
            report.add_pictures(store)
            whole = root if photos_dir.is_dir() else None  # one photo tells nothing of the others
            summary.add_presence(store.note_presence(whole, paths, unread), root)
            store.forget_methods()
            summary.timings = clock.seconds()
            summary.seconds = round(time.monotonic() - began, 2)
            summary.photos_per_second = round(summary.photos / max(summary.seconds, 0.01), 2)
            write_summary(summary, folder)
            page = report.render(summary, gallery.folder, out)
            (folder / REPORT_FILE).write_text(page, "utf-8")
            write_manifest(folder, about_run(summary), drawings=earlier)
        publish(out, summary.run_id)
        remove_old_runs(out, settings.keep_runs, summary.run_id)
    return summary


@contextlib.contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FaceOpsError(
            f"{out} cannot be written ({error.strerror or error}); mend that and run it again, "
            "it continues where it stopped."
        ) from None
