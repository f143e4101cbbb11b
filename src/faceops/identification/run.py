"""Name the people in a folder of photos: one run, from the walk to the published files."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faceops.base.cpus import usable_cpus
from faceops.base.errors import FaceOpsError
from faceops.base.locks import folder_lock
from faceops.gallery.outputs import remember_output
from faceops.gallery.store import Gallery
from faceops.identification.begin_summary import begun
from faceops.identification.check_folders import check_folders
from faceops.identification.drift import DriftMeter
from faceops.identification.engine import Rule, name_photos
from faceops.identification.face_store import FaceStore
from faceops.identification.look import Looker
from faceops.identification.manifest import about_run, write_manifest
from faceops.identification.method import method_of
from faceops.identification.output_folder import (
    ANNOTATED,
    FACES_FILE,
    REPORT_FILE,
    STATE_FILE,
    latest_drawings,
    publish,
    remove_old_runs,
    run_folder,
)
from faceops.identification.part_clock import PartClock
from faceops.identification.records import photos_of
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary, write_summary
from faceops.identification.unchanged import (
    decided_by,
    photos_below,
    run_that_stands,
    still_stands,
)
from faceops.identification.unknown_people import (
    UnknownFaces,
    find_unknown_people,
    write_unknown_people,
)
from faceops.identification.write_rows import write_rows
from faceops.identification.xmp_of_photo import with_sidecars
from faceops.release.bundle import Bundle

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
                from faceops.identification.drawings import with_drawings

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
