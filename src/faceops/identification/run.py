"""One identification run, from the walk over the photos to the published results."""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import faceops
from faceops.base.errors import FaceOpsError
from faceops.base.files import valid_unicode, write_error
from faceops.base.locks import folder_lock
from faceops.base.parallel import default_threads, ordered_map
from faceops.base.progress import track
from faceops.base.shortage import allowed_failures, shortage
from faceops.gallery.folder import remember_output
from faceops.gallery.store import Gallery
from faceops.identification.drift import DriftMeter
from faceops.identification.engine.album_search import AlbumSearch, usable_faces
from faceops.identification.engine.decide import Decision, NamedPhoto, NamingRule, name_faces
from faceops.identification.engine.extract import GROUP, FaceExtractor
from faceops.identification.metrics import write_metrics
from faceops.identification.records import output_folder, records, reuse
from faceops.identification.report.report import Report
from faceops.identification.settings import IdentifySettings, check_identify_folders
from faceops.identification.sidecars.sidecars import with_sidecars, withdraw_unused
from faceops.identification.state.face_store import Extraction, FaceStore
from faceops.identification.state.found_photo import FoundPhoto
from faceops.identification.state.schema import method_of
from faceops.identification.summary import AlbumEstimate, Summary, Timer, write_summary
from faceops.identification.unknown import unknown_people
from faceops.release.bundle import Bundle
from faceops.verification.thresholds import Thresholds

NAMED_TOGETHER = 512  # photos whose faces are compared with the gallery by one matrix product
_IN_SUMMARY = ("detail", "annotate", "xmp", "keep_crops", "keep_runs", "limits")  # of the settings
_IN_MANIFEST = ("run_id", "release", "release_note", "contract_id")


def identify(
    photos_dir: Path,
    gallery: Gallery,
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> Summary:
    """Find and name the faces of every photo below `photos_dir` (or of one photo).

    The faces of all photos are extracted first, as the album decides who is named, see
    `naming_rule`; then they are named and written.

    Writes faces.csv, faces.parquet, faces.jsonl, unknown.csv (people without a name), summary.json
    and report.html to `out`, each atomically, with a copy in `out`/runs/<run_id>. Photos that an
    earlier run into `out` has seen are not opened again: an interrupted run continues, another
    gallery needs no photo, and if nothing has changed, the latest results are kept and their
    summary is returned with `unchanged`.

    Raises:
        UsageError: a folder is wrong.
        FaceOpsError: gallery and release have different contracts; `out` is in use by another
            process or cannot be written; all photos of the latest run are gone; too many photos
            cannot be read; memory or the like is short.
    """
    check_identify_folders(photos_dir, out, gallery.folder)
    gallery.require(bundle.release.contract_id)
    thresholds = bundle.release.thresholds
    budget = settings.budget or thresholds.default_budget
    settings = replace(settings, budget=budget, precision=bundle.release.precision)
    threads = settings.threads or default_threads()
    listed = reuse.list_photos(photos_dir, settings.exclude)
    root, paths = listed.root, listed.paths
    start, timer = time.monotonic(), Timer()
    method = method_of(bundle.release, settings.detail)
    state = out / output_folder.STATE_FILE
    has_state = state.is_file()  # before FaceStore creates it
    with (
        folder_lock(out),
        _write_errors(out),
        contextlib.closing(FaceStore(state, method, settings.limits)) as store,
    ):
        # Record `out` in the gallery, then read the gallery: a person forgotten in the walk is not
        # named, and a person forgotten later is removed from `out` too.
        known_to_gallery = remember_output(gallery.folder, out, root if settings.xmp else None)
        gallery = gallery.as_saved()
        digest = reuse.inputs_digest(gallery.stamp, bundle, root, settings)
        reusable = has_state and not settings.recheck
        latest = reuse.find_reusable_run(out, digest, listed) if reusable else None
        if latest is not None:
            latest.known_to_gallery, latest.release_note = known_to_gallery, bundle.note
            return reuse.reuse_last_run(latest, out, settings)
        whole = root if photos_dir.is_dir() else None  # a single photo: the others are unknown
        missing, are_all_gone = store.missing(whole, paths)
        are_all_gone = are_all_gone and not settings.allow_empty
        if are_all_gone and not paths:
            raise FaceOpsError(_all_gone(photos_dir, out))
        paths = _with_unlisted(paths, missing)

        summary = new_summary(photos_dir, gallery, bundle, settings)
        summary.decided_by, summary.known_to_gallery = digest, known_to_gallery
        summary.skipped = Counter(listed.skipped.values())
        with (
            output_folder.run_folder(out, summary.run_id) as folder,
            unknown_people.UnknownFaces(folder, gallery.embedding_size) as unknown,
        ):
            finder = bundle.face_finder(settings.detail)
            extractor = FaceExtractor(bundle, finder, store, settings, timer)
            limit = _FailureLimit(len(paths), settings.max_failed_share, out)
            extracted = extract_photos(paths, extractor, threads, limit.check)
            if are_all_gone and not limit.readable:
                raise FaceOpsError(_all_gone(photos_dir, out))
            with timer.part("name"):
                rule = naming_rule(extracted, gallery, thresholds, settings, summary)
            name = partial(name_faces, gallery=gallery, bundle=bundle, rule=rule)
            size = GROUP if rule.search is None else NAMED_TOGETHER
            groups = (extracted[start : start + size] for start in range(0, len(paths), size))
            photos = name_photos(root, groups, name, threads, timer)
            photos = track(photos, "name", total=len(paths), after_s=2)
            drawings = output_folder.latest_drawings(out) if settings.annotate else None
            if settings.annotate:
                from faceops.identification.records.drawings import with_drawings

                photos = with_drawings(photos, folder, drawings, settings.limits, threads, summary)
            if settings.xmp:
                photos = with_sidecars(photos, summary)

            report, files = Report(root, budget), reuse.FolderDigest(settings.xmp)
            before = records.photo_ids_in(out / output_folder.FACES_FILE)
            drift = DriftMeter(thresholds, summary.gallery_faces, budget, before)
            origin = records.RunOrigin(summary.run_id, bundle.name, bundle.release.contract_id)
            counters = (summary.add, report.add, unknown.add, drift.add, files.add)
            unread = write_rows(photos, folder, origin, counters, timer)
            if settings.xmp and whole:
                withdraw_unused(whole, paths, summary)
            del extracted  # grouping unknown faces needs the memory
            summary.saw, summary.drift = files.hexdigest(), drift.result()
            with timer.part("group"):
                people = unknown_people.find_unknown_people(
                    folder / output_folder.FACES_FILE, unknown, bundle, state
                )
                unknown_people.write_unknown_people(people, folder)
            summary.unknown_people = len(people.people)
            summary.unknown_people_faces = people.grouped_faces
            summary.add_presence(store.note_presence(whole, listed, unread), root)
            store.drop_old_methods()

            report.add_unknown_people(people)
            report.add_pictures(store)
            summary.timings = timer.seconds()
            summary.seconds = round(time.monotonic() - start, 2)
            summary.photos_per_second = round(summary.photos / max(summary.seconds, 0.01), 2)
            write_summary(summary, folder)
            page = report.render(summary, gallery.folder, out)
            (folder / output_folder.REPORT_FILE).write_text(page, "utf-8")
            about = {name: getattr(summary, name) for name in _IN_MANIFEST}
            about["faceops"] = faceops.__version__
            output_folder.write_manifest(folder, about, drawings)
        output_folder.publish(out, summary.run_id)
        write_metrics(summary.as_dict(), out)
        output_folder.remove_old_runs(out, settings.keep_runs, summary.run_id)
    return summary


def new_summary(
    photos_dir: Path, gallery: Gallery, bundle: Bundle, settings: IdentifySettings
) -> Summary:
    """Return the summary of a run that starts now, with a new run id and no counts yet."""
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
        exclude=list(settings.exclude),
        checked=started.isoformat(timespec="seconds"),
        **{name: getattr(settings, name) for name in _IN_SUMMARY},
    )


def extract_photos(
    paths: Sequence[Path],
    extractor: FaceExtractor,
    threads: int,
    check: Callable[[Extraction], None],
) -> list[Extraction]:
    """Return the faces of the photos `paths` in order, without thumbnails; `check` each.

    Groups of photos are worked on by `threads` threads. They are cut by position, so that an
    interrupted run embeds the same batches as an undisturbed one.
    """
    groups = (paths[start : start + GROUP] for start in range(0, len(paths), GROUP))
    work = ordered_map(extractor.extract, groups, threads, extractor.extract_singly)
    kept = []
    for one in track((one for group in work for one in group), "identify", total=len(paths)):
        check(one)
        kept.append(replace(one, photo=one.photo.without_thumbnails()))
    return kept


def naming_rule(
    extracted: Sequence[Extraction],
    gallery: Gallery,
    thresholds: Thresholds,
    settings: IdentifySettings,
    summary: Summary,
) -> NamingRule:
    """Return the rule that keeps the budget of `summary`, which gets the threshold.

    If the release knows normalised scores, the threshold is measured on the album: all faces of the
    run that are good enough to be compared.
    """
    rule = NamingRule.for_gallery(thresholds, gallery, summary.budget, settings.policy)
    if thresholds.normalisation is None or not gallery.faces:
        return rule
    found = (one.photo for one in extracted)
    faces, photos = usable_faces(found, settings.policy, gallery.embedding_size)
    if not len(faces):
        return rule
    search = AlbumSearch.of_run(thresholds.normalisation, gallery, faces, photos)
    limit = search.threshold(thresholds, summary.budget)
    summary.threshold, summary.threshold_measured = limit.probability, limit.low is not None
    summary.album = AlbumEstimate(
        people=limit.people,
        faces=limit.faces,
        low=limit.low,
        high=limit.high,
        population=limit.population,
    )
    return rule.in_album(search, limit, thresholds.default_budget)


def name_photos(
    root: Path,
    groups: Iterable[Sequence[Extraction]],
    name: Callable[[Sequence[FoundPhoto]], list[list[Decision]]],
    threads: int,
    timer: Timer,
) -> Iterator[NamedPhoto]:
    """Yield the photos of `groups`, below `root`, in order with the decisions of `name`."""
    below = len(root.as_posix().rstrip("/")) + 1

    def decided(group: Sequence[Extraction]) -> list[NamedPhoto]:
        with timer.part("name"):
            decisions = name([one.photo for one in group])
        return [
            NamedPhoto(
                **vars(one),
                photo_path=valid_unicode(one.path.as_posix()[below:]),
                decisions=of_photo,
            )
            for one, of_photo in zip(group, decisions, strict=True)
        ]

    for group in ordered_map(decided, groups, threads):
        yield from group


def write_rows(
    photos: Iterator[NamedPhoto],
    folder: Path,
    origin: records.RunOrigin,
    counters: Sequence[Callable[[NamedPhoto], None]],
    timer: Timer,
) -> list[Path]:
    """Write the rows of all photos into `folder` while they come in; pass them to `counters`.

    Returns the paths that were not a readable file.
    """
    unread = []
    with records.open_writers(folder) as writers:
        for photo in photos:
            with timer.part("write"):
                writers.write(
                    records.records_of(origin, photo.photo_path, photo.photo, photo.decisions)
                )
                for counter in counters:
                    counter(photo)
            if photo.file is None:
                unread.append(photo.path)
        with timer.part("write"):
            writers.flush()
    return unread


class _FailureLimit:
    """Ends a run in which too many photos fail, before its results are published.

    Attributes:
        readable: number of photos that could be opened so far, now or by an earlier run.
    """

    def __init__(self, photos: int, max_share: float, out: Path) -> None:
        self._photos, self._out = photos, out
        self._allowed = allowed_failures(photos, max_share)
        self._seen = 0
        self._failures: list[str] = []
        self.readable = 0

    def check(self, found: Extraction) -> None:
        """Count a photo."""
        self._seen += 1
        self.readable += found.photo.size != (0, 0)
        if found.failure:
            self._failures.append(found.failure)
        if len(self._failures) > self._allowed:
            raise FaceOpsError(
                f"{len(self._failures)} of the first {self._seen} photos ({self._photos} in all) "
                f"could not be read, such as: {self._failures[0]} The results in {self._out} stay "
                "as they are. Remove the cause and run it again: it continues. Or accept such "
                "photos with --max-failed-share 1."
            )


def _with_unlisted(paths: list[Path], missing: list[Path]) -> list[Path]:
    """Return `paths` with those `missing` files that lie in a folder among them.

    `walk_photos` lists a folder in place of its files if the folder cannot be listed.
    """
    listed = set(paths if missing else ())
    hidden = [path for path in missing if not listed.isdisjoint(path.parents)]
    return sorted([*paths, *hidden], key=Path.as_posix) if hidden else paths


def _all_gone(photos_dir: Path, out: Path) -> str:
    return (
        f"{photos_dir} has none of the photos that the latest run saw there, and no other: is the "
        f"disk or share connected, or do rules exclude all photos? The results in {out} stay as "
        "they are. If the photos were removed, run it with --allow-empty."
    )


@contextlib.contextmanager
def _write_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError):
            raise write_error(out, error) from None
        if lack := shortage(error):
            raise lack from None
        raise
