"""Remove a person from everything that FaceOps wrote, and search for what was removed.

A person is in the gallery and its journal of decisions, in the output folders of the runs that
named from it, and in the sidecars that these runs wrote beside photos.
"""

import json
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from secrets import token_hex

from faceops.base.errors import FaceOpsError
from faceops.base.files import folder_lock, valid_unicode
from faceops.dataset.names import display_name, person_key
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry
from faceops.gallery.outputs import declare_gone, has_content, output_folders
from faceops.gallery.people import current_key, keys_of_person, locked_people
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery, remove_unfinished
from faceops.identification.forget import files
from faceops.identification.forget.files import ForgottenOutput, IsPerson, NamedFace
from faceops.identification.forget.traces import TraceSearch, mentions, search_traces
from faceops.identification.records.output_folder import STATE_FILE, refuse_copies, update_copy
from faceops.identification.state.schema import open_state, remove_mark

_NAMES = (Action.NAME, Action.SHOW)
_SHOWS = (Action.CONFIRM, Action.DRAW)


@dataclass
class ForgetResult:
    """What was removed, and what a search for it still found (`proof.found`, empty if nothing)."""

    person: str
    gallery_faces: int
    outputs: list[ForgottenOutput]
    sidecars: files.ForgottenSidecars
    proof: TraceSearch
    mark: str  # names this forgetting, see `readmit`
    decisions: int = 0  # entries that were removed from the journal of decisions
    # Other people who were shown under a name of the person, and are not any more
    also_shown: list[str] = field(default_factory=list)
    # Folders that could not be searched and may still hold the person, and copies of results in
    # stores that could not be replaced
    unreachable: list[str] = field(default_factory=list)
    copied: int = 0  # objects of such copies that were replaced or deleted

    @property
    def touched(self) -> bool:
        removed = self.gallery_faces or self.decisions or self.sidecars.entries or self.copied
        return bool(removed or self.outputs)

    @property
    def complete(self) -> bool:
        """Whether every folder was searched and nothing is left."""
        return not self.unreachable and not self.proof.found


def forget_person(
    gallery_dir: GalleryPlace, person: str, more: tuple[Path, ...] = (), gone: tuple[Path, ...] = ()
) -> ForgetResult:
    """Remove `person`, in any spelling, from the gallery and from all that was named from it.

    `person` is any name that they have or had; all their names are removed. The gallery is changed
    last, after every output and the journal of decisions, so that the call can be repeated; who is
    only in the journal is forgotten too. The outputs stay locked until then: no run names the
    person again. While a folder or a sidecar cannot be read, the gallery keeps the earlier names,
    without faces, since they are needed to go on later.

    Args:
        more: further output folders, such as those of an earlier version.
        gone: folders of results or photos that the user declares gone for good.

    Raises:
        UsageError: there is no gallery; `more` has a URL; a folder of `gone` exists, or is a URL
            with credentials.
        FaceOpsError: no person has that name; a folder is in use, damaged or cannot be written.
    """
    refuse_copies(more)
    with locked_people(gallery_dir) as people, ExitStack() as locks:
        gallery = people.gallery
        remove_unfinished(gallery_dir)
        for folder in gone:
            declare_gone(gallery_dir, folder)
        found = JournalPerson.find(gallery, people.decisions, person)
        keys, is_person = found.keys, found.is_named

        def is_shown(name: str) -> bool:
            return is_person(name) or person_key(name) in found.shown

        named = [one for one, key in gallery.keys.items() if key in keys or one in found.ids]
        is_theirs = gallery.faces.where("person", named)
        faces = list(gallery.faces.take(is_theirs))
        storage = gallery.storage
        crops = []
        for face in faces:
            with suppress(FileNotFoundError):
                crops.append(storage.png(face.crop_id))
        known = output_folders(gallery_dir)
        folders = list(dict.fromkeys([*known.folders, *(path.resolve() for path in more)]))
        present = [folder for folder in folders if has_content(folder)]
        mark = token_hex(4)
        theirs = {NamedFace(face.photo_id, face.photo, face.box) for face in faces}
        theirs.update(found.confirmed(people.decisions))
        clean = partial(_clean_outputs, locks, is_person, theirs, mark)
        outputs = clean(present)
        gone_now = {valid_unicode(str(folder)) for folder in known.gone}
        stated = [folder for output in outputs for folder in output.photo_folders]
        photo_folders = [
            folder
            for folder in dict.fromkeys([*known.sidecars, *stated])
            if valid_unicode(str(folder)) not in gone_now or has_content(folder)
        ]
        is_mentioned = mentions(keys | found.ids)
        sidecars = files.forget_in_sidecars(photo_folders, is_shown, is_mentioned)
        absent = [valid_unicode(str(folder)) for folder in folders if folder not in present]
        unreachable = [*absent, *sidecars.unlisted]
        rest = gallery.without(is_theirs)
        if not unreachable and not sidecars.found:
            aliases = {old: new for old, new in gallery.aliases.items() if old not in keys}
        else:  # the names that only the journal has are needed too
            name = faces[0].person if faces else display_name(person)
            earlier = dict.fromkeys(keys - {current_key(gallery.aliases, name)}, name)
            aliases = earlier | dict(gallery.aliases)
        removed = found.remove(gallery_dir, theirs)
        rest = rest.with_aliases(aliases).save()
        # Runs that started since then have recorded their folders before reading the gallery.
        late = [folder for folder in output_folders(gallery_dir).folders if folder not in folders]
        try:
            outputs += clean(late)
        except FaceOpsError:
            for png in crops:
                storage.store_png(png)
            rest.with_faces(faces).with_aliases(gallery.aliases).save()
            people.journal.merge(removed)
            raise
        secrets = [*(face.embedding.tobytes() for face in faces), *crops]
        secrets += [secret for output in outputs for secret in output.secrets]
        marks = found.marks(removed, person, *(face.person for face in faces))
        own = storage.folder or storage.scratch  # which need not exist
        searched = [*([own] if own.exists() else []), *present, *late]
        left = storage.purge()
        tables = [(str(storage), storage.cells())]
        proof = search_traces(searched, is_person, is_mentioned, secrets, marks, tables)
        proof.found += left
        copied, missed = 0, []
        for folder in (*present, *late):
            try:
                copied += update_copy(folder)
            except FaceOpsError as error:
                missed.append(f"the copy of {valid_unicode(str(folder))} ({error})")
    proof.add(sidecars)
    result = ForgetResult(
        person=faces[0].person if faces else person,
        gallery_faces=len(faces),
        outputs=[output for output in outputs if output.touched],
        sidecars=sidecars,
        proof=proof,
        mark=mark,
        decisions=len(removed),
        also_shown=found.also_shown,
        unreachable=[*unreachable, *proof.unlisted, *missed],
        copied=copied,
    )
    if result.complete and not (result.touched or proof.elsewhere or gone):
        raise FaceOpsError(
            f"{person} is not in the gallery {gallery_dir}, nor in anything named from it."
        )
    return result


def _clean_outputs(
    locks: ExitStack, is_person: IsPerson, faces: set[NamedFace], mark: str, folders: Iterable[Path]
) -> list[ForgottenOutput]:
    """Lock and clean as many output folders as possible before an error is raised.

    The faces that they name are added to `faces`. A face named in one folder may be unnamed in
    another: it is removed from all states before the rows that name it are changed.
    """
    errors = []
    done: dict[Path, ForgottenOutput] = {}

    def find(folder: Path) -> None:
        locks.enter_context(folder_lock(folder))
        faces.update(files.named_in_output(folder, is_person))

    def forget_faces(folder: Path) -> None:
        done[folder] = files.forget_in_state(folder, faces, mark)

    def forget_names(folder: Path) -> None:
        files.forget_in_files(done[folder], is_person, faces)

    remaining = list(folders)
    for step in (find, forget_faces, forget_names):
        for folder in tuple(remaining):
            try:
                step(folder)
            except FaceOpsError as error:
                errors.append(str(error))
                remaining.remove(folder)
    if errors:
        raise FaceOpsError("\n".join([*errors, "The gallery keeps the person until then."]))
    return list(done.values())


def readmit(gallery_dir: GalleryPlace, mark: str, more: tuple[Path, ...] = ()) -> dict[Path, int]:
    """Undo one forgetting in the states, so that a person who is enrolled again is named again.

    Decisions about the person do not come back. The next run into each output folder opens the
    photos of the forgotten faces again. Returns the number of faces by output folder.

    Raises:
        UsageError: there is no gallery; `more` has a URL.
        FaceOpsError: no output has the mark; an output is in use, damaged or cannot be written.
    """
    refuse_copies(more)
    Gallery.open(gallery_dir)
    folders = [*output_folders(gallery_dir).folders, *(path.resolve() for path in more)]
    counts = {}
    for out in dict.fromkeys(folders):
        if (out / STATE_FILE).is_file():
            try:
                with folder_lock(out), open_state(out / STATE_FILE) as db:
                    counts[out] = remove_mark(db, mark)
                    if counts[out]:
                        files.reset_summary(out)
            except (OSError, ValueError) as error:
                raise FaceOpsError(f"{out} cannot be changed ({error}); repair that.") from None
    if not any(counts.values()):
        raise FaceOpsError(
            f"no output of the gallery {gallery_dir} has the mark {mark}; people forget printed it."
        )
    return {out: count for out, count in counts.items() if count}


@dataclass(frozen=True)
class JournalPerson:
    """A person in the gallery and in its journal."""

    ids: frozenset[str]  # of the person in the journal, and of those who were merged into them
    keys: frozenset[str]  # of all names that are, or were, the person's and nobody else's
    shown: frozenset[str]  # keys of the names under which they were shown, which others may have
    # Names of other people who are shown under a name of this one
    also_shown: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, gallery: Gallery, decisions: Decisions, name: str) -> "JournalPerson":
        own = keys_of_person(gallery.aliases, name)
        people = decisions.people()
        enrolled = {*gallery.keys.values()}
        current = {one for one, called in people.items() if _key(gallery, called) in own}
        if not current and not own & enrolled:
            former = decisions.current(decisions.person_named(display_name(name)))
            if person_key(people.get(former, "")) not in enrolled:
                current = {former} - {""}
        named = {entry.person for entry in decisions.entries.values() if entry.person}
        ids = {one for one in named if decisions.current(one) in current}
        others = {_key(gallery, called) for one, called in people.items() if one not in current}
        others |= enrolled - own
        was = {person_key(called) for one in ids for called in decisions.names_of(one)}
        own |= {key for key in was if key not in others and _key(gallery, key) in own | was}
        shows = [e for e in decisions.entries.values() if e.action == Action.SHOW]
        shown = {person_key(entry.detail) for entry in shows if entry.person in ids}
        also = [
            called
            for one, called in people.items()
            if one not in ids and person_key(decisions.shown_name(called)) in own
            if person_key(called) not in own
        ]
        return cls(frozenset(ids), frozenset(own), frozenset(shown), also)

    def is_named(self, text: str) -> bool:
        """Return whether a text is a name or an id of the person."""
        return text in self.ids or person_key(text) in self.keys

    def confirmed(self, decisions: Decisions) -> list[NamedFace]:
        """Return the faces that show the person as somebody decided."""
        return [
            NamedFace(photo_id, "", place.box)
            for photo_id in decisions.photos()
            for place in decisions.places(photo_id)
            if place.person in self.ids
        ]

    def entries(self, decisions: Decisions, faces: Iterable[NamedFace]) -> list[Entry]:
        """Return all entries about the person, and about `faces`, which are theirs.

        Faces that are confirmed as somebody else now keep the entries about others.
        """
        found = {entry.id for entry in decisions.entries.values() if self._is_about(entry)}
        shown = {
            (entry.photo_id, entry.box)
            for entry in decisions.entries.values()
            if entry.id in found and entry.action in _SHOWS and decisions.holds(entry.id)
        }
        places = shown | {(face.photo_id, face.box) for face in faces}
        for photo_id, box in places:
            if box is None or photo_id not in decisions.photos():
                continue
            (place,) = decisions.match(photo_id, [box])
            if place is None or not place.person or place.person in self.ids:
                found |= {entry.id for entry in decisions.about_face(photo_id, box)}
        undone = -1
        while undone != len(found):  # what undoes them, and what undoes that; links of photos
            undone = len(found)
            found |= {
                entry.id
                for entry in decisions.entries.values()
                if entry.action == Action.UNDO and entry.detail in found
            }
            found |= _idle_links(decisions, found)
        return [entry for entry in decisions.entries.values() if entry.id in found]

    def _is_about(self, entry: Entry) -> bool:
        is_merged = entry.action == Action.MERGE and entry.detail in self.ids
        is_named = entry.action in _NAMES and person_key(entry.detail) in self.keys
        return entry.person in self.ids or is_merged or is_named

    def remove(self, gallery: GalleryPlace, faces: Collection[NamedFace]) -> list[Entry]:
        """Remove these entries from the journal; return them.

        Entries of others that the person made stay, without the person's name.

        Raises: as `Journal.remove`.
        """
        journal = storage_of(gallery).journal()
        decisions = Decisions(journal.entries())
        removed = self.entries(decisions, faces)
        gone = {entry.id for entry in removed}
        signed = [
            entry
            for entry in decisions.entries.values()
            if entry.id not in gone and entry.by and self.is_named(entry.by)
        ]
        journal.remove(
            [*gone, *(entry.id for entry in signed)], [replace(entry, by="") for entry in signed]
        )
        return removed

    def marks(self, removed: Iterable[Entry], *names: str) -> list[bytes]:
        """Return what the bytes of the journal must not hold: the ids, and the names as JSON."""
        texts = [*self.ids, *names]
        texts += [e.detail for e in removed if e.action in _NAMES and self.is_named(e.detail)]
        return [json.dumps(text, ensure_ascii=False).encode() for text in dict.fromkeys(texts)]


def _idle_links(decisions: Decisions, gone: Collection[str]) -> set[str]:
    """Return the entries that link photos none of which has a decision but `gone`."""
    kept = [entry for entry in decisions.entries.values() if entry.id not in gone]
    links = [entry for entry in kept if entry.action == Action.SAME]
    decided = {entry.photo_id for entry in kept if entry.action != Action.SAME} - {""}
    while links:
        used = [one for one in links if one.photo_id in decided or one.detail in decided]
        if not used:
            break
        decided |= {photo_id for one in used for photo_id in (one.photo_id, one.detail)}
        links = [one for one in links if one not in used]
    return {one.id for one in links}


def _key(gallery: Gallery, name: str) -> str:
    return current_key(gallery.aliases, name)
