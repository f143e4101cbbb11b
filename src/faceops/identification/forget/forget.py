"""Remove a person from everything that FaceOps wrote, and prove it by searching for what went."""

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.base.locks import folder_lock
from faceops.gallery.crops import crop_path, store_png
from faceops.gallery.folder import OutputFolders, declare_gone, has_content, output_folders
from faceops.gallery.names import keys_of_person, paths_shown_as, person_key, valid_unicode
from faceops.gallery.store import locked_gallery
from faceops.identification.forget.rows_and_faces import (
    Forgotten,
    ForgottenSidecars,
    NamedFace,
    forget_faces,
    forget_rows,
    forget_sidecars,
    named_faces,
    shows,
)
from faceops.identification.forget.traces import Searched, search_traces
from faceops.identification.records.drawings import drawn_path
from faceops.identification.records.output_folder import (
    ANNOTATED,
    REPORT_FILE,
    RUNS,
    STATE_FILE,
    SUMMARY_FILE,
    remove_unfinished,
    rewrite_manifest,
)
from faceops.identification.report.report import people_on
from faceops.identification.state.forgotten_places import new_mark


@dataclass
class ForgottenOutput:
    """What was removed from one output folder; `removed` are the bytes that must be gone.

    `sidecars_beside` are the folders of photos in which its runs wrote sidecars.
    """

    folder: Path
    rows: int = 0
    cached_faces: int = 0
    reports: int = 0
    pictures: int = 0
    removed: list[Forgotten] = field(default_factory=list)
    sidecars_beside: list[Path] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether anything was removed."""
        return any((self.rows, self.cached_faces, self.reports, self.pictures))


def forget_in_output(
    out: Path, is_person: Callable[[str], bool], enrolled: Iterable[NamedFace], mark: str
) -> ForgottenOutput:
    """Remove the person from everything in `out`; the caller holds its lock.

    The state keeps where the face was, without embedding or picture, so that the next run does
    not embed it again. Reports of runs that show the person go as a whole, since their pictures
    cannot be told apart; the next run writes the latest one anew. Done again it finds nothing.

    Args:
        enrolled: the person's faces in the gallery, whose photos may lie in the album too.
        mark: by which the places of the forgotten faces can be given back.

    Raises:
        FaceOpsError: `out` is damaged or cannot be written; what was removed stays so.
    """
    done = ForgottenOutput(out)
    try:
        remove_unfinished(out)
        folders = [out, *sorted((out / RUNS).glob("*"))]
        # An enrolled photo's path is one below the people's folder, not below the album.
        named_in_rows = {face for folder in folders for face in named_faces(folder, is_person)}
        faces = {*enrolled, *named_in_rows}
        done.sidecars_beside = _sidecars_beside(folders)
        done.removed = forget_faces(out / STATE_FILE, faces, mark)
        done.cached_faces = len(done.removed)
        for folder in folders:
            done.pictures += _remove_pictures(folder, named_in_rows)
            rows = forget_rows(folder, is_person)
            done.rows += rows
            named = _forget_summary(folder, is_person)
            # A page also shows whom a face may be, which no row says.
            guessed = any(map(is_person, people_on(folder / REPORT_FILE)))
            if named or rows or guessed or shows(folder, {face.photo_id for face in faces}):
                done.reports += _remove_report(folder)
            rewrite_manifest(folder)
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out} cannot be cleaned ({error}); mend that and forget the person again, "
            "what is removed stays removed."
        ) from None
    return done


def _forget_summary(folder: Path, is_person: Callable[[str], bool]) -> bool:
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return False
    content = json.loads(path.read_text("utf-8"))
    rest = {name: count for name, count in content["people"].items() if not is_person(name)}
    if rest == content["people"]:
        return False
    # Without `decided_by` these results do not stand: the next run decides anew.
    content.update(people=rest, decided_by="")
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return True


def _remove_report(folder: Path) -> bool:
    path = folder / REPORT_FILE
    there = path.is_file()
    path.unlink(missing_ok=True)
    return there


def _remove_pictures(folder: Path, faces: Iterable[NamedFace]) -> int:
    """Remove the drawn copies of the photos in which the person was named."""
    drawn = folder / ANNOTATED
    if not drawn.is_dir() or drawn.is_symlink():
        return 0
    removed = 0
    for path in {face.photo_path for face in faces}:
        picture = drawn / drawn_path(path)
        if picture.is_file():
            picture.unlink()
            removed += 1
    if not any(path.is_file() for path in drawn.rglob("*")):
        shutil.rmtree(drawn)
        drawn.mkdir()  # the latest run's has a link to it
    return removed


def _sidecars_beside(folders: Iterable[Path]) -> list[Path]:
    """Return the folders of photos whose sidecars the runs in `folders` wrote."""
    stated = set()
    for folder in folders:
        path = folder / SUMMARY_FILE
        if path.is_file():
            content = json.loads(path.read_text("utf-8"))
            if content["xmp"]:
                stated.add(content["photos_folder"])
    root = Path("/")
    found = [
        place
        for text in sorted(stated)
        for place in paths_shown_as(root, text.lstrip("/")) or [Path(text)]
    ]
    return [place if place.is_dir() or not place.exists() else place.parent for place in found]


@dataclass
class Forgetting:
    """What was removed, and what a search for it still found (`proof.found` is to be empty).

    `mark` is that of the faces' places in the outputs, which stay (see `readmit`). `unreachable`
    are folders that could not be looked into: they may still hold the person.
    """

    person: str
    gallery_faces: int
    outputs: list[ForgottenOutput]
    sidecars: ForgottenSidecars
    proof: Searched
    mark: str
    unreachable: list[str] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether the person was found anywhere."""
        return bool(self.gallery_faces or self.outputs or self.sidecars.entries)

    @property
    def complete(self) -> bool:
        """Whether nothing is left in any place that was written to."""
        return not self.unreachable and not self.proof.found


def forget_everywhere(
    gallery_dir: Path, person: str, more: tuple[Path, ...] = (), gone: tuple[Path, ...] = ()
) -> Forgetting:
    """Remove `person`, in any spelling, from the gallery and from all that was named from it.

    `person` is any name that they have or had: all of them go. The gallery goes last, and only
    when every output was cleaned: until then the call can be made again. No run can write into an
    output from before it is cleaned until the gallery is saved. While a folder or a sidecar cannot
    be read, the gallery keeps the earlier names, without any face: they are needed later.

    Args:
        more: further output folders, such as those of an earlier version.
        gone: folders of results or photos that are stated to be gone for good.

    Raises:
        UsageError: there is no gallery; a folder of `gone` is there.
        FaceOpsError: nobody of that name anywhere; a folder is in use, damaged or cannot be
            written.
    """
    with locked_gallery(gallery_dir) as gallery, ExitStack() as locks:
        for folder in gone:
            declare_gone(gallery_dir, folder)
        keys = keys_of_person(gallery.aliases, person)
        is_person = lambda name: person_key(name) in keys  # noqa: E731
        faces = [face for face in gallery.faces if is_person(face.person)]
        paths = [crop_path(gallery_dir, face.crop_id) for face in faces]
        crops = [path.read_bytes() for path in paths if path.is_file()]
        enrolled = [NamedFace(face.photo_id, face.photo, face.box) for face in faces]
        known = output_folders(gallery_dir)
        places = [*dict.fromkeys([*known.folders, *(path.resolve() for path in more)])]
        there = [place for place in places if has_content(place)]
        mark = new_mark()
        clean = lambda out: forget_in_output(out, is_person, enrolled, mark)  # noqa: E731
        outputs = _in_outputs(there, clean, locks)
        sidecars = forget_sidecars(_sidecar_folders(known, outputs), is_person)
        unreachable = [
            *(valid_unicode(str(place)) for place in places if place not in there),
            *sidecars.unreachable,
        ]
        rest = gallery.without(lambda face: is_person(face.person))
        if not unreachable and not sidecars.found:
            aliases = {old: new for old, new in gallery.aliases.items() if old not in keys}
            rest = rest.with_aliases(aliases)
        rest.save()
        late = [place for place in output_folders(gallery_dir).folders if place not in places]
        try:
            outputs += _in_outputs(late, clean, locks)
        except FaceOpsError:
            for png in crops:  # the late outputs were named from the previous gallery
                store_png(gallery_dir, png)
            gallery.save()
            raise
        secrets = [*(face.embedding.tobytes() for face in faces), *crops]
        secrets += [part for output in outputs for one in output.removed for part in one.parts]
        proof = search_traces([gallery_dir, *there, *late], is_person, secrets)
    proof.files += sidecars.files
    proof.found += sidecars.found
    done = Forgetting(
        person=faces[0].person if faces else person,
        gallery_faces=len(faces),
        outputs=[output for output in outputs if output.touched],
        sidecars=sidecars,
        proof=proof,
        mark=mark,
        unreachable=unreachable,
    )
    if done.complete and not done.touched and not gone:
        raise FaceOpsError(
            f"{person} is not in the gallery {gallery_dir}, nor in anything named from it."
        )
    return done


def _in_outputs(
    places: Iterable[Path], clean: Callable[[Path], ForgottenOutput], locks: ExitStack
) -> list[ForgottenOutput]:
    """Lock and clean every output that can be, before any error is raised."""
    done, errors = [], []
    for place in places:
        try:
            locks.enter_context(folder_lock(place))
            done.append(clean(place))
        except FaceOpsError as error:
            errors.append(str(error))
    if errors:
        raise FaceOpsError("\n".join([*errors, "The gallery keeps the person until then."]))
    return done


def _sidecar_folders(known: OutputFolders, outputs: Iterable[ForgottenOutput]) -> list[Path]:
    """Return the folders of photos with sidecars that are there, or are not stated to be gone."""
    gone = {valid_unicode(str(place)) for place in known.gone}
    stated = [place for output in outputs for place in output.sidecars_beside]
    places = dict.fromkeys([*known.sidecars, *stated])
    return [
        place for place in places if has_content(place) or valid_unicode(str(place)) not in gone
    ]
