"""Write what the label doctor found: the list and its contact sheets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.label_doctor.suspicion import Suspicion
from faceops.evaluation.label_doctor.suspicion_sheets import draw_pages
from faceops.evaluation.label_doctor.suspicions_file import read_verdicts, write_suspicions
from faceops.faces.tile_sheet import write_sheet
from faceops.photos.photo_error import printable

SUSPICIONS_FILE = "suspicions.csv"


def write_findings(
    suspicions: Sequence[Suspicion], faces: EmbeddedFaces, data: Path, out: Path
) -> dict[str, Any]:
    """Write suspicions.csv and suspicions-001.png ... into `out`; return the counts.

    Verdicts in a suspicions.csv that is there already are kept; sheets of an earlier run go.

    Raises:
        FaceOpsError: a photo in doubt is not in `data`, or the earlier list is damaged.
    """
    in_doubt = sorted({photo for doubt in suspicions for photo in doubt.photos})
    photo_ids = {photo: _photo_id(data / str(faces.paths[photo])) for photo in in_doubt}
    file = out / SUSPICIONS_FILE
    judged = read_verdicts(file) if file.exists() else []
    write_suspicions(suspicions, faces.persons, faces.paths, photo_ids, file, judged)
    drawn = set()
    pages = draw_pages(suspicions, faces.persons, faces.paths, faces.crops)
    for number, page in enumerate(track(pages, "drawing contact sheets"), start=1):
        drawn.add(out / f"suspicions-{number:03d}.png")
        write_sheet(page, out / f"suspicions-{number:03d}.png")
    for old in set(out.glob("suspicions-[0-9]*.png")) - drawn:
        old.unlink()
    people = faces.people
    return {
        "photos": len(faces),
        "people": people,
        "pairs_of_people": people * (people - 1) // 2,
        "suspicions": len(suspicions),
        "photos_in_doubt": len(in_doubt),
        "kinds": dict(sorted(Counter(doubt.kind.value for doubt in suspicions).items())),
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
