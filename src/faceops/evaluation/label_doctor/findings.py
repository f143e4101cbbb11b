"""The label doctor's input and output: crops, suspicions.csv, contact sheets, verdicts."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from faceops.base.errors import FaceOpsError, first_line, printable
from faceops.base.files import csv_cell, csv_text, sha256_file, write_csv
from faceops.base.work import track
from faceops.dataset.data_folder import is_photo_id
from faceops.evaluation.label_doctor.diagnose import Kind, Suspicion
from faceops.faces import contact_sheets as sheets
from faceops.verification.embedded_faces import EmbeddedFaces


def read_cropped_photos(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (crops, persons, paths) of the output folder of the crop stage.

    `crops` uint8 (N, 112, 112, 3) RGB, memory-mapped; `persons` and `paths` text (N,).

    Raises FaceOpsError: it is missing, unreadable or empty, or its two files do not match.
    """
    crops_file, faces_file = folder / "crops.npy", folder / "faces.parquet"
    for file in (crops_file, faces_file):
        if not file.is_file():
            raise FaceOpsError(
                f"{file} does not exist; run `dvc repro crop`, or name the crop stage's folder "
                "by --crops."
            )
    try:
        table = pq.read_table(faces_file, columns=["crop", "path", "person"]).sort_by("crop")
        crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = first_line(error)
        raise FaceOpsError(f"{folder} cannot be read ({reason}); run `dvc repro crop`.") from None
    row = table["crop"].to_numpy()
    kept = table.slice(int((row < 0).sum()))  # -1: rejected
    if not np.array_equal(kept["crop"].to_numpy(), np.arange(len(crops))):
        raise FaceOpsError(f"{faces_file} does not fit {crops_file}; run `dvc repro crop`.")
    if not len(kept):
        raise FaceOpsError(f"{folder} holds no faces; see build/validate/quarantine.csv.")
    persons, paths = (np.array(kept[name].to_pylist(), dtype=str) for name in ("person", "path"))
    return crops, persons, paths


A_PAGE = 12
_MOST = 4  # photos of each kind in a row of ten


def draw_pages(
    suspicions: Sequence[Suspicion], persons: np.ndarray, paths: np.ndarray,
    crops: np.ndarray | None,
) -> Iterator[Image.Image]:  # fmt: skip
    """Yield contact sheets of twelve suspicions each, numbered as in suspicions.csv.

    Red frames: suspect photos. Grey captions: other photos of the name. Green frames: the
    person they resemble. `persons` and `paths` str (N,) and `crops` uint8 (N, 112, 112, 3) are
    of all photos; without crops crosses are drawn.
    """

    def tile(photo: int, role: str, colour: sheets.Colour, framed: bool) -> sheets.Thumbnail:
        picture = None if crops is None else Image.fromarray(np.asarray(crops[photo]))
        person = str(persons[photo])
        stem = PurePosixPath(str(paths[photo])).stem
        number = stem.removeprefix(person).strip(" _-") or stem
        return sheets.Thumbnail(picture, person, f"{role} {number}", colour, framed)

    def section(rank: int, suspicion: Suspicion) -> sheets.ThumbnailSection:
        title = f"{rank}. {suspicion.kind}: {suspicion.person}"
        title += f" / {suspicion.suggestion}" if suspicion.suggestion else ""
        tiles = [tile(photo, "suspect", sheets.BAD, True) for photo in suspicion.photos[:_MOST]]
        tiles += [
            tile(photo, "same name", sheets.PLAIN, False) for photo in suspicion.beside[:_MOST]
        ]
        tiles += [tile(photo, "like", sheets.GOOD, True) for photo in suspicion.alike[:_MOST]]
        note = f"score {suspicion.score:.1f}: {suspicion.evidence.replace('_', ' ')}"
        return sheets.ThumbnailSection(title.replace("_", " "), tiles[: sheets.COLUMNS], note)

    numbered = list(enumerate(suspicions, start=1))
    for start in range(0, len(numbered), A_PAGE):
        page = numbered[start : start + A_PAGE]
        yield sheets.draw_sections([section(rank, suspicion) for rank, suspicion in page])


# rank and score (log odds) of the suspicion, shared by its photos; suggestion: the other name.
CSV_COLUMNS = (
    *("rank", "kind", "score", "person", "suggestion", "path", "photo_id", "evidence"),
    "verdict",
)
VERDICTS = ("yes", "no", "")


@dataclass(frozen=True)
class Row:
    """One row of suspicions.csv; `line` 2 is the first; `verdict` is one of VERDICTS."""

    line: int
    kind: Kind
    person: str
    suggestion: str
    path: str
    photo_id: str
    verdict: str


def write_suspicions(
    suspicions: Sequence[Suspicion], persons: np.ndarray, paths: np.ndarray,
    photo_ids: dict[int, str], file: Path, earlier_rows: Iterable[Row] = (),
) -> None:  # fmt: skip
    """Write suspicions.csv to `file`, keeping the verdicts of `earlier_rows` of the file.

    `persons` and `paths` str (N,) are of all photos, `photo_ids` the sha256 of suspect ones by row.
    """
    verdicts = {(row.kind, row.photo_id, row.suggestion): row.verdict for row in earlier_rows}
    rows = []
    for rank, suspicion in enumerate(suspicions, start=1):
        for photo in suspicion.photos:
            person = str(persons[photo])
            # Of two similar single photos each suggests the other's name.
            suggestion = suspicion.suggestion if person == suspicion.person else suspicion.person
            verdict = verdicts.get((suspicion.kind, photo_ids[photo], suggestion), "")
            cells = (person, suggestion, str(paths[photo]), photo_ids[photo], suspicion.evidence)
            score = f"{suspicion.score:.2f}"
            rows.append([rank, suspicion.kind.value, score, *map(csv_cell, cells), verdict])
    write_csv(file, CSV_COLUMNS, rows, errors="surrogateescape")


def read_verdicts(file: Path) -> list[Row]:
    """Read a suspicions.csv that a person may have edited.

    Raises FaceOpsError: missing file, not such a CSV, or an unknown verdict.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
            reader = csv.DictReader(opened, restval="")
            rows = list(enumerate(reader, start=2))
            columns = reader.fieldnames or []
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FaceOpsError(
            f"{file} cannot be read ({reason}); run `faceops data doctor`."
        ) from None
    if lacking := [name for name in CSV_COLUMNS if name not in columns]:
        raise FaceOpsError(
            f"{file} has no column {lacking[0]!r}; keep the columns that `faceops data doctor` "
            "wrote, and save it as CSV with commas."
        )
    return [_row(file, line, row) for line, row in rows if any(row.values())]


def _row(file: Path, line: int, row: dict[str, str]) -> Row:
    verdict, photo_id = (row[name].strip().lower() for name in ("verdict", "photo_id"))
    kind, wrong = row["kind"].strip(), ""
    if verdict not in VERDICTS:
        wrong = f"the verdict {row['verdict']!r} is not yes, no or empty."
    elif not is_photo_id(photo_id):
        wrong = (
            f"photo_id {row['photo_id']!r} is not a sha256 of 64 digits; run `faceops data doctor` "
            "again and fill in the verdicts only."
        )
    elif kind not in list(Kind):
        wrong = f"kind {row['kind']!r} is none of {', '.join(Kind)}; fill in the verdicts only."
    if wrong:
        raise FaceOpsError(f"{file} line {line}: {wrong}")
    person, suggestion, path = (csv_text(row[name]) for name in ("person", "suggestion", "path"))
    return Row(line, Kind(kind), person, suggestion, path, photo_id, verdict)


SUSPICIONS_FILE = "suspicions.csv"


def write_findings(
    suspicions: Sequence[Suspicion], faces: EmbeddedFaces, data: Path, out: Path
) -> dict[str, Any]:
    """Write suspicions.csv and suspicions-001.png ... into `out`; return the counts.

    Verdicts of an existing suspicions.csv are kept; contact sheets of an earlier run are removed.

    Raises FaceOpsError: a suspect photo is not in `data`, or the existing list is damaged.
    """
    suspects = sorted({photo for suspicion in suspicions for photo in suspicion.photos})
    photo_ids = {photo: _photo_id(data / str(faces.paths[photo])) for photo in suspects}
    file = out / SUSPICIONS_FILE
    earlier_rows = read_verdicts(file) if file.exists() else []
    write_suspicions(suspicions, faces.persons, faces.paths, photo_ids, file, earlier_rows)
    drawn = set()
    pages = draw_pages(suspicions, faces.persons, faces.paths, faces.crops)
    for number, page in enumerate(track(pages, "drawing contact sheets"), start=1):
        drawn.add(sheet := out / f"suspicions-{number:03d}.png")
        sheets.write_sheet(page, sheet)
    for old in set(out.glob("suspicions-[0-9]*.png")) - drawn:
        old.unlink()
    return {
        "photos": len(faces),
        "people": faces.people,
        "pairs_of_people": math.comb(faces.people, 2),
        "suspicions": len(suspicions),
        "photos_in_doubt": len(suspects),
        "kinds": dict(sorted(Counter(suspicion.kind.value for suspicion in suspicions).items())),
        "sheets": len(drawn),
    }


def _photo_id(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise FaceOpsError(
            f"{printable(path)} cannot be read ({error.strerror}); name the data folder that was "
            "cropped by --data, or run `dvc repro crop`."
        ) from None


def confirmed_photos(rows: Sequence[Row], file: Path, data: Path) -> dict[str, str]:
    """Return photo_id -> reason of the photos with verdict yes, in file order.

    `rows` are those of suspicions.csv, `file`; their paths are relative to `data`.

    Raises FaceOpsError: a photo has both yes and no, or is no longer in `data`.
    """
    refused = {row.photo_id: row.line for row in rows if row.verdict == "no"}
    reasons: dict[str, str] = {}
    for row in rows:
        if row.verdict != "yes":
            continue
        if row.photo_id in refused:
            raise FaceOpsError(
                f"{file} says yes in line {row.line} and no in line {refused[row.photo_id]} about "
                f"the photo {printable(Path(row.path))}; choose one."
            )
        _check_is_there(row, file, data)
        perhaps = f", perhaps {row.suggestion}" if row.suggestion else ""
        reasons.setdefault(row.photo_id, f"data doctor: {row.kind} of {row.person}{perhaps}")
    return reasons


def _check_is_there(row: Row, file: Path, data: Path) -> None:
    photo = f"{file} line {row.line}: {printable(data / row.path)}"
    try:
        same = sha256_file(data / row.path) == row.photo_id
    except OSError as error:
        raise FaceOpsError(
            f"{photo} cannot be read ({error.strerror}); if it was moved or removed, clear its "
            "verdict, else name the data folder by --data."
        ) from None
    if not same:
        raise FaceOpsError(
            f"{photo} is not the suspect photo; run `faceops data doctor` again, or name the data "
            "folder by --data."
        )
