"""Remove a person from everything that FaceOps wrote, and search for what was removed.

A person is in the gallery and its journal of decisions, in the output folders of the runs that
named from it, and in the sidecars that these runs wrote beside photos.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import folder_lock, valid_unicode
from faceops.base.stores import NoAnswerError, ObjectStore, is_url, shown
from faceops.base.work import ordered_map, track
from faceops.gallery.follow import locked_people
from faceops.gallery.names import current_key, display_name, person_key
from faceops.gallery.outputs import OutputFolders, declare_gone, has_content, output_folders
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery, remove_unfinished
from faceops.identification.forget import output_folder, traces
from faceops.identification.forget.journal import JournalPerson
from faceops.identification.records.output_folder import STATE_FILE, refuse_copies, update_copy
from faceops.identification.sidecars import (
    SIDECARS_AT_ONCE,
    TEMPORARY,
    is_marked,
    names_of_ours,
    remove_person,
)
from faceops.identification.state.schema import new_mark, open_state, remove_mark
from faceops.photos.sidecar_place import SidecarPlaces
from faceops.photos.walk import SIDECAR
from faceops.photos.xmp import XmpDocument, read_sidecar, sidecar_bytes


@dataclass
class ForgottenSidecars:
    """How many sidecars were searched, and how many entries were removed.

    Attributes:
        found: sidecars that still name the person, or that could not be read.
        elsewhere: sidecars in which others name the person, or that could not be searched for that.
        unreachable: folders that do not exist, are empty or may not be listed.
    """

    files: int = 0
    entries: int = 0
    found: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


@dataclass
class ForgetResult:
    """What was removed, and what a search for it still found (`proof.found`, empty if nothing).

    Attributes:
        mark: names this forgetting, see `readmit`.
        decisions: entries that were removed from the journal of decisions.
        also_shown: other people who were shown under a name of the person, and are not any more.
        unreachable: folders that could not be searched and may still hold the person, and copies of
            results in stores that could not be replaced.
        copied: objects of such copies that were replaced or deleted.
    """

    person: str
    gallery_faces: int
    outputs: list[output_folder.ForgottenOutput]
    sidecars: ForgottenSidecars
    proof: traces.TraceSearch
    mark: str
    decisions: int = 0
    also_shown: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    copied: int = 0

    @property
    def touched(self) -> bool:
        """Whether the person was found anywhere."""
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
    only in the journal is forgotten too. The outputs
    stay locked until then: no run names the person again. While a folder or a sidecar cannot be
    read, the gallery keeps the earlier names, without faces, since they are needed to go on later.

    Args:
        more: further output folders, such as those of an earlier version.
        gone: folders of results or photos that the user declares gone for good.

    Raises:
        UsageError: there is no gallery; `more` has a URL; a folder of `gone` exists, or is a URL
            with credentials.
        FaceOpsError: no person has that name; a folder is in use, damaged or cannot be
            written.
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
        mark = new_mark()
        theirs = {output_folder.NamedFace(face.photo_id, face.photo, face.box) for face in faces}
        theirs.update(found.confirmed(people.decisions))
        clean = partial(_clean_outputs, locks, is_person, theirs, mark)
        outputs = clean(present)
        photo_folders = _sidecar_folders(known, outputs)
        is_mentioned = traces.mentions(keys | found.ids)
        sidecars = forget_in_sidecars(photo_folders, is_shown, is_mentioned)
        absent = [valid_unicode(str(folder)) for folder in folders if folder not in present]
        unreachable = [*absent, *sidecars.unreachable]
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
        tables = {str(storage): storage.cells()}
        proof = traces.search_traces(searched, is_person, is_mentioned, secrets, marks, tables)
        proof.found += left
        copied, missed = _update_copies([*present, *late])
    proof.files += sidecars.files
    proof.found += sidecars.found
    proof.elsewhere += sidecars.elsewhere
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


def _update_copies(folders: Iterable[Path]) -> tuple[int, list[str]]:
    """Update the copies in stores; return the number of changed objects, and what failed."""
    changed, missed = 0, []
    for folder in folders:
        try:
            changed += update_copy(folder)
        except FaceOpsError as error:
            missed.append(f"the copy of {valid_unicode(str(folder))} ({error})")
    return changed, missed


def _clean_outputs(
    locks: ExitStack,
    is_person: output_folder.IsPerson,
    faces: set[output_folder.NamedFace],
    mark: str,
    folders: Iterable[Path],
) -> list[output_folder.ForgottenOutput]:
    """Lock and clean as many output folders as possible before an error is raised.

    The faces that they name are added to `faces`. A face named in one folder may be unnamed in
    another: it is removed from all states before the rows that name it are changed.
    """
    errors = []
    done: dict[Path, output_folder.ForgottenOutput] = {}

    def find(folder: Path) -> None:
        locks.enter_context(folder_lock(folder))
        faces.update(output_folder.named_in_output(folder, is_person))

    def forget_faces(folder: Path) -> None:
        done[folder] = output_folder.forget_in_state(folder, faces, mark)

    def forget_names(folder: Path) -> None:
        output_folder.forget_in_files(done[folder], is_person, faces)

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


def _sidecar_folders(
    known: OutputFolders, outputs: Iterable[output_folder.ForgottenOutput]
) -> list[Path]:
    gone = {valid_unicode(str(folder)) for folder in known.gone}
    stated = [folder for output in outputs for folder in output.photo_folders]
    return [
        folder
        for folder in dict.fromkeys([*known.sidecars, *stated])
        if valid_unicode(str(folder)) not in gone or has_content(folder)
    ]


def forget_in_sidecars(
    folders: Sequence[Path], is_person: output_folder.IsPerson, is_mentioned: output_folder.IsPerson
) -> ForgottenSidecars:
    """Remove what FaceOps wrote of the person from every sidecar below `folders`.

    Every sidecar is parsed, in whatever encoding, and read again after it was changed; so are
    copies of them (photo.xmp~, photo.xmp_original) and those that were moved with their photos.
    Names that others wrote stay and are reported. Half-written sidecars of killed runs are deleted.

    Args:
        is_person: whether a text is the person's name.
        is_mentioned: whether a text contains it.
    """
    done, places = ForgottenSidecars(), SidecarPlaces()
    local = [folder for folder in folders if not is_url(folder)]
    present = [folder for folder in local if has_content(folder)]
    done.unreachable += [valid_unicode(str(folder)) for folder in local if folder not in present]
    search = partial(_forget_in_sidecar, places, is_person, is_mentioned)
    searches: list[Iterable[ForgottenSidecars]] = [
        map(search, traces.files_below(present, done.unreachable, _may_be_sidecar))
    ]
    for folder in folders:
        if is_url(folder):
            stored = _stored_sidecars(folder, done.unreachable)
            searches.append(ordered_map(search, stored, SIDECARS_AT_ONCE))
    for each in searches:
        try:
            for one in track(each, "search sidecars"):
                done.files += one.files
                done.entries += one.entries
                done.found += one.found
                done.elsewhere += one.elsewhere
        except NoAnswerError as error:
            done.unreachable.append(str(error).rstrip("."))
    return done


def _stored_sidecars(folder: Path, unreachable: list[str]) -> Iterator[Path]:
    """Yield what may be a sidecar in a store; `unreachable` gets a folder of which that fails."""
    is_empty = True
    try:
        for entry in ObjectStore.at(folder).objects():
            is_empty = False
            is_path = not {"", ".", ".."} & {*entry.name.split("/")}  # as of all that we wrote
            if is_path and SIDECAR in entry.name.rpartition("/")[2].lower():
                yield folder / entry.name
    except FaceOpsError as error:
        unreachable.append(str(error).rstrip("."))
    else:
        unreachable += [shown(folder)] * is_empty


def _forget_in_sidecar(
    places: SidecarPlaces,
    is_person: output_folder.IsPerson,
    is_mentioned: output_folder.IsPerson,
    path: Path,
) -> ForgottenSidecars:
    done, name = ForgottenSidecars(), valid_unicode(shown(path))
    try:
        if path.name.endswith(TEMPORARY):
            path.unlink()
            return done
        done.files = 1
        document = XmpDocument(sidecar_bytes(path))
        if any(map(is_person, names_of_ours(document))):
            done.entries = remove_person(path, is_person, places)
            left = read_sidecar(path)
            if left is None:
                return done
            document = left
            if any(map(is_person, names_of_ours(document))):
                done.found.append(f"{name}: the name, in a sidecar")
        if any(map(is_mentioned, document.texts())):
            done.elsewhere.append(f"{name}: the name, in entries of other programs")
    except NoAnswerError:
        raise
    except FaceOpsError as error:
        done.found.append(str(error))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) or is_marked(path):
            done.found.append(f"{name}: cannot be read ({error}); inspect it, or remove it")
        else:
            done.elsewhere.append(f"{name}: not searched for entries of other programs ({error})")
    return done


def _may_be_sidecar(name: str) -> bool:
    return SIDECAR in name.lower() or name.endswith(TEMPORARY)


def readmit(gallery_dir: GalleryPlace, mark: str, more: tuple[Path, ...] = ()) -> dict[Path, int]:
    """Undo one forgetting in the states, so that a person who is enrolled again is named again.

    Decisions about the person do not come back.
    The next run into each output folder opens the photos of the forgotten faces again. Returns the
    number of faces by output folder.

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
                        output_folder.reset_summary(out)
            except (OSError, ValueError) as error:
                raise FaceOpsError(f"{out} cannot be changed ({error}); repair that.") from None
    if not any(counts.values()):
        raise FaceOpsError(
            f"no output of the gallery {gallery_dir} has the mark {mark}; people forget printed it."
        )
    return {out: count for out, count in counts.items() if count}
