"""Take a person out of one output folder of `faceops identify`: state, records, pictures."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.gallery.shown_path import paths_shown_as
from faceops.identification.drawn_path import drawn_path
from faceops.identification.forget_faces import Forgotten, forget_faces
from faceops.identification.forget_rows import NamedFace, forget_rows, named_faces, shows
from faceops.identification.manifest import renew_manifest
from faceops.identification.output_folder import (
    ANNOTATED,
    REPORT_FILE,
    RUNS,
    STATE_FILE,
    SUMMARY_FILE,
    remove_unfinished,
)
from faceops.identification.report.page_data import people_on


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
            renew_manifest(folder)
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
