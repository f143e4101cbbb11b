"""One identification run, from the walk over the photos to the published results."""

import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import faceops
from faceops.base.errors import FaceOpsError, UsageError, allowed_failures, shortage
from faceops.base.files import folder_lock, valid_unicode, write_error
from faceops.base.stores import is_url, shown
from faceops.base.work import Timer, default_threads, track
from faceops.gallery.decisions import Decisions, digest_of
from faceops.gallery.outputs import remember_output
from faceops.gallery.store import Gallery
from faceops.identification import latest_run
from faceops.identification.admit import admit_confirmed
from faceops.identification.drift import DriftMeter
from faceops.identification.engine.decide import NamingRule, name_photos
from faceops.identification.engine.extract import KNOWN_AT_ONCE, FaceExtractor
from faceops.identification.engine.ranking import AlbumSearch, usable_faces
from faceops.identification.engine.verdicts import DecidedFaces, RewrittenPhotos
from faceops.identification.inputs import IdentifySettings, check_identify_folders, list_photos
from faceops.identification.metrics import write_metrics
from faceops.identification.records import output_folder, records
from faceops.identification.report.report import Report
from faceops.identification.sidecars import withdraw_unused, write_sidecars
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import EmbeddingFile, PhotoBlock, in_blocks
from faceops.identification.state.schema import Presence, method_of
from faceops.identification.summary import AlbumEstimate, Summary, write_summary
from faceops.identification.unknown import unknown_people
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.release.bundle import Bundle
from faceops.verification.thresholds import Thresholds

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
    `naming_rule`; then they are named and written. What people decided about a face, in the
    gallery's journal, comes before its scores.

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
    check_identify_folders(photos_dir, out, gallery.place)
    gallery.require(bundle.release.contract_id)
    thresholds = bundle.release.thresholds
    budget = settings.budget or thresholds.default_budget
    settings = replace(settings, budget=budget, precision=bundle.release.precision)
    threads = settings.threads or default_threads()
    listed = list_photos(photos_dir, settings.exclude)
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
        known_to_gallery = remember_output(gallery.place, out, root if settings.xmp else None)
        gallery = gallery.as_saved()
        digest = latest_run.inputs_digest(gallery.stamp, bundle, root, settings)
        reusable = has_state and not settings.recheck
        latest = latest_run.find_reusable_run(out, digest, listed) if reusable else None
        if latest is not None:
            latest.known_to_gallery, latest.release_note = known_to_gallery, bundle.note
            return latest_run.reuse_last_run(latest, out, settings)
        decisions = Decisions.load(gallery.place)
        decided = DecidedFaces(decisions, gallery)
        whole = root if listed.is_folder else None  # a single photo: the others are unknown
        missing, are_all_gone = store.missing(whole, paths)
        are_all_gone = are_all_gone and not settings.allow_empty
        if are_all_gone and not paths:
            raise FaceOpsError(_all_gone(photos_dir, out))
        if is_url(root) and not (paths or missing or settings.allow_empty):
            raise UsageError(f"{shown(root)} has no photos; check its name, or --allow-empty.")
        paths = _with_unlisted(paths, missing)

        summary = new_summary(photos_dir, gallery, bundle, settings)
        summary.known_to_gallery = known_to_gallery
        summary.skipped = Counter(listed.skipped.values())
        with (
            output_folder.run_folder(out, summary.run_id) as folder,
            EmbeddingFile(folder, gallery.embedding_size) as embeddings,
        ):
            finder = bundle.face_finder(settings.detail)
            extractor = FaceExtractor(bundle, finder, store, settings, timer, listed.file)
            limit = _FailureLimit(len(paths), settings.max_failed_share, out)
            rewritten = RewrittenPhotos(decisions, store, gallery.storage.journal())
            # Closed, so that no thread works on when the lock of the folder is given up.
            with contextlib.closing(extractor.photos(paths, threads)) as photos:
                found = map(limit.checked, photos)
                blocks = keep_photos(found, rewritten, decided, embeddings)
            if are_all_gone and not limit.readable:
                raise FaceOpsError(_all_gone(photos_dir, out))
            if stamp := gallery.stamp:
                with timer.part("admit"):
                    admission = admit_confirmed(gallery, decisions, bundle, store, settings, root)
                gallery = gallery.as_saved()
                decided = DecidedFaces(decisions, gallery)
                summary.admitted = admission.admitted.total()
                summary.withdrawn = admission.withdrawn.total()
                summary.not_admitted = admission.refused
                summary.gallery_note = admission.note
                count_gallery(summary, gallery, thresholds)
                if gallery.stamp != stamp:
                    digest = latest_run.inputs_digest(gallery.stamp, bundle, root, settings)
                    now = Decisions.load(gallery.place).entries.keys()
                    if not decisions.entries.keys() >= now:
                        digest = ""  # the next run applies what was decided since
                if admission.is_busy:
                    digest = ""  # the next run tries again
            summary.inputs_sha256, summary.known_people = digest, len(decided.people)
            made = decisions.made()
            summary.decisions, summary.decisions_digest = len(made), digest_of(made)
            with timer.part("name"):
                rule = naming_rule(blocks, embeddings.all(), gallery, thresholds, summary)
            named = name_photos(root, blocks, embeddings.rows, decided, bundle.verify, rule, timer)
            report, files = Report(root, budget), latest_run.FolderDigest(settings.xmp, listed)
            before = records.photo_ids_in(out / output_folder.FACES_FILE)
            drift = DriftMeter(thresholds, summary.gallery_faces, budget, before)
            drawings, places = None, SidecarPlaces() if settings.xmp else None
            if settings.annotate:
                from faceops.identification.records.drawings import Drawings

                latest_copies = output_folder.latest_drawings(out)
                drawings = Drawings(folder, latest_copies, settings.limits, threads)
            origin = records.RunOrigin(summary.run_id, bundle.name, bundle.release.contract_id)
            with records.record_files(folder) as write_rows:
                for block in track(named, "name", len(paths), after_s=2, size=len):
                    if drawings is not None:
                        drawings.draw(block, summary)
                    if places is not None:
                        write_sidecars(block, places, summary)
                    with timer.part("write"):
                        write_rows(origin, block)
                        for counter in (summary, report, drift, files):
                            counter.add(block)
            unread = [block.paths[one] for block in blocks for one in block.without_file.tolist()]
            if places is not None and whole:
                withdraw_unused(whole, map(Path, paths), places, summary)
            del blocks  # grouping unknown faces needs the memory
            changes = 0 if places is None else places.changes
            summary.files_sha256, summary.drift = files.hexdigest(changes), drift.result()
            with timer.part("group"):
                people = unknown_people.find_unknown_people(
                    folder / output_folder.FACES_FILE, embeddings.all(), bundle, state, decisions
                )
                unknown_people.write_unknown_people(people, folder)
            summary.unknown_people = len(people.people)
            summary.unknown_people_faces = people.grouped_faces
            _note_presence(summary, store.note_presence(whole, listed, unread), root)
            store.drop_old_methods()

            report.add_unknown_people(people)
            summary.timings = timer.seconds()
            summary.seconds = round(time.monotonic() - start, 2)
            summary.photos_per_second = round(summary.photos / max(summary.seconds, 0.01), 2)
            write_summary(summary, folder)
            report.write(folder, store, summary, gallery.place, out)
            about = {name: getattr(summary, name) for name in _IN_MANIFEST}
            about["faceops"] = faceops.__version__
            output_folder.write_manifest(folder, about, drawings.earlier if drawings else None)
        output_folder.publish(out, summary.run_id)
        write_metrics(summary, out)
        output_folder.remove_old_runs(out, settings.keep_runs, summary.run_id)
    return summary


def keep_photos(
    found: Iterable[PhotoBlock],
    rewritten: RewrittenPhotos,
    decided: DecidedFaces,
    embeddings: EmbeddingFile,
) -> list[PhotoBlock]:
    """Return the photos `found`, with the faces drawn by hand; links photos that were rewritten.

    Their embeddings are not in memory but in `embeddings`.
    """

    def kept() -> Iterator[PhotoBlock]:
        for block in found:
            rewritten.note(block)
            block = decided.with_drawn(block)
            embeddings.append(block.embeddings)
            yield replace(block, embeddings=block.embeddings[:0])

    return list(in_blocks(kept(), KNOWN_AT_ONCE))


def new_summary(
    photos_dir: Path, gallery: Gallery, bundle: Bundle, settings: IdentifySettings
) -> Summary:
    """Return the summary of a run that starts now, with a new run id and no counts yet."""
    thresholds = bundle.release.thresholds
    started = datetime.now(UTC)
    summary = Summary(
        run_id=f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        photos_folder=valid_unicode(
            shown(photos_dir) if is_url(photos_dir) else str(photos_dir.resolve())
        ),
        started=started.isoformat(timespec="seconds"),
        gallery=valid_unicode(gallery.storage.address),
        release=bundle.name,
        release_note=bundle.note,
        contract_id=bundle.release.contract_id,
        precision=bundle.release.precision,
        device=bundle.runs_on,
        budget=settings.budget or thresholds.default_budget,
        runner_up_margin=thresholds.runner_up_margin,
        exclude=list(settings.exclude),
        checked=started.isoformat(timespec="seconds"),
        **{name: getattr(settings, name) for name in _IN_SUMMARY},
    )
    count_gallery(summary, gallery, thresholds)
    return summary


def count_gallery(summary: Summary, gallery: Gallery, thresholds: Thresholds) -> None:
    """Note in `summary` how many people are enrolled, and the threshold that follows."""
    enrolled, budget = len(gallery.faces), summary.budget
    summary.gallery_people, summary.gallery_faces = len(gallery.people), enrolled
    summary.threshold = thresholds.for_search(budget, enrolled) if enrolled else None
    summary.threshold_measured = bool(enrolled) and thresholds.search_is_measured(budget, enrolled)


def _note_presence(summary: Summary, presence: Presence, root: Path) -> None:
    summary.vanished, summary.moved = presence.vanished, presence.moved
    summary.excluded = presence.excluded
    summary.unlisted = [
        valid_unicode(Path(folder).relative_to(root).as_posix()) for folder in presence.unlisted
    ]
    summary.drop_at = presence.drop_at.isoformat(timespec="seconds") if presence.drop_at else ""


def naming_rule(
    blocks: Sequence[PhotoBlock],
    embeddings: np.ndarray,
    gallery: Gallery,
    thresholds: Thresholds,
    summary: Summary,
) -> NamingRule:
    """Return the rule that keeps the budget of `summary`, which gets the threshold.

    If the release knows normalised scores, the threshold is measured on the album: all faces of the
    run that are good enough to be compared. `embeddings`, float32 (N, D), are those of all faces in
    order, and may be mapped from a file.
    """
    rule = NamingRule.for_gallery(thresholds, gallery, summary.budget)
    if thresholds.normalisation is None or not gallery.faces:
        return rule
    rows, photos = usable_faces(blocks)
    if not len(rows):
        return rule
    search = AlbumSearch.of_run(thresholds.normalisation, gallery, embeddings[rows], photos)
    limit = search.threshold(thresholds, summary.budget)
    summary.threshold, summary.threshold_measured = limit.probability, limit.low is not None
    fields = AlbumEstimate.__dataclass_fields__
    summary.album = AlbumEstimate(**{name: getattr(limit, name) for name in fields})
    return rule.in_album(search, limit, thresholds.default_budget)


class _FailureLimit:
    """Ends a run in which too many photos fail; `readable`: photos opened now or earlier."""

    def __init__(self, photos: int, max_share: float, out: Path) -> None:
        self._photos, self._out = photos, out
        self._allowed = allowed_failures(photos, max_share)
        self._seen = 0
        self._failures: list[str] = []
        self.readable = 0

    def checked(self, photos: PhotoBlock) -> PhotoBlock:
        """Return some photos, counted."""
        self._seen += len(photos)
        self.readable += int(photos.sizes.any(axis=1).sum())
        self._failures += photos.failures.values()
        if len(self._failures) > self._allowed:
            raise FaceOpsError(
                f"{len(self._failures)} of the first {self._seen} photos ({self._photos} in all) "
                f"could not be read, such as: {self._failures[0]} The results in {self._out} stay "
                "as they are. Remove the cause and run it again: it continues. Or accept such "
                "photos with --max-failed-share 1."
            )
        return photos


def _with_unlisted(paths: list[str], missing: list[str]) -> list[str]:
    """Add the `missing` files below the folders in `paths`, which could not be listed."""
    listed = set(paths if missing else ())
    hidden = [path for path in missing if not listed.isdisjoint(map(os.fspath, Path(path).parents))]
    return sorted([*paths, *hidden]) if hidden else paths


def _all_gone(photos_dir: Path, out: Path) -> str:
    return (
        f"{shown(photos_dir)} has none of the photos that the latest run saw there, and no other: "
        f"is the disk or share connected, or do rules exclude all photos? The results in {out} "
        "stay as they are. If the photos were removed, run it with --allow-empty."
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
