"""Make the synthetic data set in a folder; existing files are kept."""

from itertools import chain
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.base.progress import track
from faceops.dataset.importer import SYNTHETIC, read_sources, write_sources
from faceops.dataset.synthetic.generator import load_generator
from faceops.dataset.synthetic.people import SyntheticSettings
from faceops.dataset.synthetic.photos import Drawing, album, album_truth, draw_all, portraits

TERMS = "Faces of people who do not exist; no rights of persons attach to them."


def make_synthetic(data: Path, settings: SyntheticSettings, weights: Path) -> dict[str, Any]:
    """Make the set in the folder `data` and return its counts; `written` counts new files.

    Files are written atomically, so an interrupted run resumes and a second run writes nothing.

    Args:
        weights: the generator's file.

    Raises:
        FaceOpsError: the folder holds something else, or cannot be written.
    """
    _check_or_write_sources(data, settings)
    drawings = list(chain(portraits(settings), album(settings)))
    missing = [drawing for drawing in drawings if not _exists(data, drawing)]
    written = 0
    if missing:
        files = draw_all(missing, load_generator(weights))
        total = sum(len(drawing.paths) for drawing in missing)
        for path, content in track(files, "synthetic people", total):
            write_file(data / path, content)
            written += 1
    if settings.scenes:
        truth = data / "album_truth.csv"
        if not truth.is_file():
            write_file(truth, album_truth(settings))
            written += 1
    paths = [path for drawing in drawings for path in drawing.paths]
    return {
        "people": settings.people,
        "photos": sum(path.startswith("photos/") for path in paths),
        "gallery_people": settings.gallery,
        "enrol_photos": sum(path.startswith("enrol/") for path in paths),
        "album_photos": sum(path.startswith("album/") for path in paths),
        "written": written,
    }


def _exists(data: Path, drawing: Drawing) -> bool:
    return all((data / path).is_file() for path in drawing.paths)


def _check_or_write_sources(data: Path, settings: SyntheticSettings) -> None:
    """Write sources.json, or check that it names the same settings."""
    sources = read_sources(data)
    wanted = settings.as_dict()
    if not sources:
        if data.is_dir() and any(data.iterdir()):
            raise FaceOpsError(
                f"{data} holds files of another kind; choose another folder with --out."
            )
        write_sources(data, {SYNTHETIC: {"settings": wanted, "terms": TERMS}})
        return
    made = sources.get(SYNTHETIC, {}).get("settings")
    if not isinstance(made, dict):
        raise FaceOpsError(
            f"{data} holds photos imported from {', '.join(sources)}, which synthetic people are "
            "not mixed with; choose another folder with --out."
        )
    for key in sorted(wanted.keys() | made.keys()):
        if made.get(key) != wanted.get(key):
            raise FaceOpsError(
                f"{data} was made with {key} = {made.get(key)}, not {wanted.get(key)}; "
                "choose another folder with --out, or remove it."
            )
