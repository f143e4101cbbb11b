"""The album that users decide about: results, gallery and journal in memory and on the disk.

A decision is first written to the journal, then applied to the faces concerned; both are done
before the next key is pressed. A thread then decides the whole album again, as the next run will.
Readers get an immutable `DecidedAlbum`; one lock guards the journal and the exchange of albums.
"""

import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from faceops.base.errors import InUseError, user_error
from faceops.base.files import folder_lock
from faceops.base.work import progress_to
from faceops.gallery.decisions import Decisions, digest_of
from faceops.gallery.journal import Action, Entry
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery
from faceops.identification.admit import expected_gallery
from faceops.identification.engine.verdicts import DecidedFaces
from faceops.identification.latest_run import latest_run
from faceops.identification.records.output_folder import SUMMARY_FILE
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.release.bundle import Bundle
from faceops.review.decided import DecidedAlbum, as_recorded, decide_again, decide_all
from faceops.review.results import Results

SETTLE_S = 0.5  # decisions within so many seconds are processed together
LOOK_EVERY_S = 2.0  # seconds between two checks for changes by other processes
_WAITING = "identify is running in another process: decisions are kept, and the results follow"

T = TypeVar("T")
Change = Callable[[DecidedAlbum], DecidedAlbum]


@dataclass(frozen=True)
class Status:
    state: str  # "idle", "deciding", "publishing" or "waiting" (for another process)
    text: str  # a sentence for the page
    progress: float  # of publishing, 0 to 1
    unpublished: int  # number of batches of decisions that are not in the results yet
    error: str  # a sentence about the latest failure, "" if there is none


class _ClosedError(Exception):
    pass


class LiveAlbum:
    """The latest results in `out` with all decisions; thread-safe.

    `place` is that of the gallery, `bundle` the release that made the results; `version` increases
    whenever the page may look different. `lock` is to be held while `decisions` are read or
    changed.

    Raises UsageError: `out` has no results, or `place` has no gallery; FaceOpsError: they are
    damaged, or of another release.
    """

    def __init__(self, out: Path, place: GalleryPlace, bundle: Bundle) -> None:
        self.out, self.place, self.bundle = out, place, bundle
        self.lock = threading.RLock()
        self.version = 0
        self._journal = storage_of(place).journal()
        self._loading = threading.Lock()  # taken before `lock`, so that the latest results win
        self._published: set[str] = set()  # entries that are in the results
        self._since: list[Change] = []  # changes made since the whole album was decided
        self._wake, self._closed = threading.Event(), threading.Event()
        self._publishing: float | None = None  # its progress
        self._publisher: threading.Thread | None = None
        self._waits, self._error, self._stamp = False, "", ""
        self._has_written = False  # since the last check for entries of other processes
        self._unseen = ""  # why changes of other processes could not be read
        self.reload()
        self._thread = threading.Thread(target=self._work, name="decide album", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the threads, and close the state; a publication that is running is cancelled."""
        self._closed.set()
        self._wake.set()
        self._thread.join()
        if self._publisher:
            self._publisher.join()
        self.results.store.close()

    def reload(self) -> None:
        """Read results, gallery and journal again, and decide the album.

        Reading takes seconds: only what was decided meanwhile is applied under the lock.
        """
        with self._loading:
            summary_stamp = _summary_stamp(self.out)
            results = Results.load(self.out, self.bundle)
            weakref.finalize(results, results.store.close)  # readers may still use earlier ones
            gallery = Gallery.open(self.place, self.bundle.release.contract_id)
            decided = DecidedFaces(Decisions(self._journal.entries()), gallery)
            album = as_recorded(results, self.bundle, decided)
            with self.lock:
                if storage_of(self.place).stamp() == gallery.stamp:
                    self._gallery, self.decisions = gallery, decided.decisions
                    self._stamp = gallery.stamp
                else:
                    self._read_gallery()
                self.results, self._since = results, []
                self._summary_stamp = summary_stamp
                self._published |= _published(results.run.summary, self.decisions)
                self.decided = self._caught_up(album)
                self._changed()

    def _caught_up(self, album: DecidedAlbum) -> DecidedAlbum:
        entries = self.decisions.entries.values()
        made = [self.decisions.subject(one) for one in entries if one.id not in self._published]
        if not made:
            return album
        decided = DecidedFaces(self.decisions, album.gallery)
        album = album.with_people(decided).with_drawn(self.results, decided)
        photo_ids = {one.photo_id for one in made if one.photo_id}
        return decide_again(album, self.results, self.bundle, decided, photo_ids)

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until the whole album is decided with all decisions; return whether it is."""
        end = time.monotonic() + seconds
        while self._is_deciding and time.monotonic() < end:
            time.sleep(0.02)
        return not self._is_deciding

    @property
    def status(self) -> Status:
        with self.lock:
            progress = self._publishing or 0.0
            unpublished = len({
                entry.batch
                for entry in self.decisions.entries.values()
                if entry.batch and entry.action != Action.SAME and entry.id not in self._published
            })  # fmt: skip
            state, text = "idle", "the results have all decisions"
            if unpublished == 1:
                text = "1 decision is not in the results yet: publish it"
            elif unpublished:
                text = f"{unpublished} decisions are not in the results yet: publish them"
            if self._is_deciding:
                state, text = "deciding", "the album is decided anew"
            if self._publishing is not None:
                state, text = "publishing", f"the results are written, {100 * progress:.0f} %"
            if self._waits:
                state, text = "waiting", _WAITING
            error = self._unseen or self._error
            return Status(state, text, progress, unpublished, error)

    def write(
        self,
        entries: Sequence[Entry],
        photo_ids: Collection[str],
        draws: bool = False,
        change: Change | None = None,
    ) -> None:
        """Write decisions to the journal, and apply them to the faces of these photos.

        `draws`: whether the entries change which boxes are drawn by hand. `change` is applied in
        addition, until the whole album is decided again.

        Raises FaceOpsError: the journal cannot be written; nothing was decided.
        """
        with self.lock:
            is_known = storage_of(self.place).stamp() == self._stamp
            self.decisions.add(self._journal.append(entries))
            if is_known:  # else `_look` reads what other processes wrote
                self._stamp = storage_of(self.place).stamp()
            self._has_written = True

            def apply(album: DecidedAlbum) -> DecidedAlbum:
                decided = DecidedFaces(self.decisions, album.gallery)
                album = album.with_people(decided)
                if draws:
                    album = album.with_drawn(self.results, decided)
                album = decide_again(album, self.results, self.bundle, decided, photo_ids)
                return change(album) if change else album

            self.apply(apply)

    def change_gallery(self, act: Callable[[], T]) -> T:
        """Call `act`, which writes gallery and journal, and read both again; return its result.

        The caller holds the lock, and applies the changes to the album.
        """
        done = act()
        self._read_gallery()
        self._changed()
        return done

    def publish(self, wait: bool = False) -> None:
        """Run identify with the settings of the latest run, in a thread; see `status`.

        With `wait` return when the results have all current decisions, or the run has failed.
        """
        if wait and self._publisher:  # it may have started before the latest decisions
            self._publisher.join()
        with self.lock:
            if self._publishing is not None:
                return
            self._publishing, self._error = 0.0, ""
            thread = threading.Thread(target=self._publish, name="publish", daemon=True)
            self._publisher = thread
            thread.start()
        if wait:
            thread.join()

    def _publish(self) -> None:
        try:
            with progress_to(self._note_progress):
                while not self._identify():
                    if self._closed.wait(LOOK_EVERY_S):
                        return
            self.reload()
        except _ClosedError:
            pass
        except Exception as error:  # noqa: BLE001  the page shows it and stays usable
            self._fail(error)
        finally:
            with self.lock:
                self._publishing, self._waits = None, False
                self.version += 1

    def _identify(self) -> bool:
        """Run identify; return False if another process uses its folders."""
        run = self.results.run
        try:
            latest_run(self.out)  # fails if the folder was moved: identify would create a new one
            with folder_lock(self.out):  # fails before the gallery is read for nothing
                pass
            self._waits = False
            gallery = Gallery.open(self.place, self.bundle.release.contract_id)
            identify(run.photos, gallery, self.bundle, self.out, run.settings())
        except InUseError:
            self._waits = True
            self.version += 1
            return False
        return True

    def _note_progress(self, what: str, share: float) -> None:
        if self._closed.is_set():
            raise _ClosedError
        if self._publishing is None or round(100 * share) != round(100 * self._publishing):
            self._publishing = share

    def _work(self) -> None:
        while not self._closed.is_set():
            if not self._wake.wait(LOOK_EVERY_S):
                self._look()
                continue
            self._closed.wait(SETTLE_S if self._since else 0)
            self._wake.clear()
            if self._closed.is_set():
                return
            try:
                self._decide_all()
            except Exception as error:  # noqa: BLE001  the page shows it and stays usable
                self._fail(error)
            with self.lock:
                self._is_deciding = self._wake.is_set()

    def _decide_all(self) -> None:
        with self.lock:
            results, gallery, count = self.results, self._gallery, len(self._since)
            decisions = Decisions(self.decisions.entries.values())
        store, root = results.store, results.run.root
        gallery = expected_gallery(gallery, decisions, self.bundle, store, root)
        album = decide_all(results, self.bundle, gallery, decisions)
        with self.lock:
            if results is not self.results:
                return
            self._since = self._since[count:]
            for change in self._since:
                album = change(album)
            self.decided = album
            self.version += 1

    def _look(self) -> None:
        """Read results, gallery and journal again if other processes changed them."""
        problem = ""
        try:
            if self._publishing is None and self._has_new_results():
                self.reload()
            with self.lock:
                if storage_of(self.place).stamp() != self._stamp or self._lacks_entries():
                    self._read_gallery()
                    self._changed()
        except Exception as error:  # noqa: BLE001  files are being replaced, or the page shows it
            problem = _message(error)
        if problem != self._unseen:
            self._unseen = problem
            if problem:
                self.version += 1
            else:  # try again what failed in the meantime
                self._error = ""
                self._changed()

    def _lacks_entries(self) -> bool:
        """Return whether another process wrote to the journal at the same time as this album."""
        has_written, self._has_written = self._has_written, False
        return has_written and self._journal.count() != len(self.decisions.entries)

    def _has_new_results(self) -> bool:
        stamp = _summary_stamp(self.out)
        if stamp is not None and stamp == self._summary_stamp:
            return False
        if latest_run(self.out).summary.run_id != self.results.run.summary.run_id:
            return True
        self._summary_stamp = stamp
        return False

    def _read_gallery(self) -> None:
        self._gallery = Gallery.open(self.place, self.bundle.release.contract_id)
        self._stamp = self._gallery.stamp
        self.decisions = Decisions(self._journal.entries())  # some may have been forgotten

    def apply(self, change: Change) -> None:
        """Change the album now, and again when the thread has decided it; needs the lock."""
        self.decided = change(self.decided)
        self._since.append(change)
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._is_deciding = True
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        self._error = _message(error)
        self.version += 1


def _published(summary: Summary, decisions: Decisions) -> set[str]:
    """Return the ids of the entries that a run applied.

    None if the journal no longer begins with these: entries were imported or forgotten since.
    """
    first = decisions.made()[: summary.decisions]
    return set(first) if digest_of(first) == summary.decisions_digest else set()


def _message(error: Exception) -> str:
    return str(user_error(error) or f"{type(error).__name__}: {error}")


def _summary_stamp(out: Path) -> tuple[int, int, int] | None:
    try:
        found = (out / SUMMARY_FILE).stat()
    except OSError:
        return None  # reading the results reports it
    return found.st_mtime_ns, found.st_size, found.st_ino
