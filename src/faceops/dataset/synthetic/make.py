"""Make the synthetic set: portraits, an album with its ground truth, and odd files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_csv, write_file
from faceops.base.work import track
from faceops.dataset.data_folder import SYNTHETIC, read_sources, write_sources
from faceops.dataset.synthetic.people import (
    BATCH,
    GALLERY,
    TRAINING,
    Draw,
    SyntheticSettings,
    invented_name,
    jpeg,
    load_generator,
    photo_latent,
    png,
    png_chunk,
    png_header,
    stored_zlib,
)
from faceops.dataset.synthetic.scenes import Scene, draw_scene, plan_portrait, plan_scene
from faceops.photos.pixels import ORIENTATION, UNDO_ORIENTATION


@dataclass(frozen=True)
class Drawing:
    paths: tuple[str, ...]  # of its files, POSIX, relative to the data folder
    latents: np.ndarray  # float64 (faces, 100)
    # Takes the faces, uint8 (faces, 64, 64, 3), and returns the bytes of each path
    finish: Callable[[np.ndarray], tuple[bytes, ...]]


def draw_all(drawings: Iterable[Drawing], draw: Draw) -> Iterator[tuple[str, bytes]]:
    """Yield the path and bytes of every file, the generator run on batches of faces."""
    batch: list[Drawing] = []
    faces = 0
    for drawing in drawings:
        batch.append(drawing)
        faces += len(drawing.latents)
        if faces >= BATCH:
            yield from _draw_batch(batch, draw)
            batch, faces = [], 0
    if batch:
        yield from _draw_batch(batch, draw)


def _draw_batch(batch: list[Drawing], draw: Draw) -> Iterator[tuple[str, bytes]]:
    tiles = draw(np.concatenate([drawing.latents for drawing in batch]))
    start = 0
    for drawing in batch:
        end = start + len(drawing.latents)
        yield from zip(drawing.paths, drawing.finish(tiles[start:end]), strict=True)
        start = end


TRUTH_COLUMNS = ("photo", "x", "y", "width", "height", "person")

# Turns an upright photo into the one that a camera stores under an EXIF orientation: all but
# two of the turns are their own inverse.
_STORE = UNDO_ORIENTATION | {6: UNDO_ORIENTATION[8], 8: UNDO_ORIENTATION[6]}


@dataclass(frozen=True)
class _SceneFiles:
    """The files of one scene: their names in its folder, and how its picture is encoded."""

    names: tuple[str, ...]
    scene: Scene
    encode: Callable[[Image.Image], tuple[bytes, ...]]
    readable: bool = True


def _scene_files(settings: SyntheticSettings) -> Iterator[_SceneFiles]:
    if not settings.scenes:
        return
    for number in range(1, settings.scenes + 1):
        scene = plan_scene(settings.seed, number, settings.gallery, settings.strangers)
        yield _SceneFiles((f"scene_{number:03d}.jpg",), scene, _as_it_is)
    # The numbers of these scenes are past those of the album.
    turned_names = tuple(f"odd/orientation_{orientation}.jpg" for orientation in range(1, 9))
    for names, number, encode in (
        (turned_names, 1000, _all_orientations),
        (("odd/truncated.jpg",), 1001, _truncated),
        (("odd/cmyk.jpg",), 1002, lambda image: (jpeg(image.convert("CMYK")),)),
        (
            ("odd/grey_16_bit.png",),
            1003,
            lambda image: (png(np.asarray(image.convert("L"), np.uint16) * 257),),
        ),
    ):
        scene = plan_scene(settings.seed, number, settings.gallery, 0, only_gallery=True)
        yield _SceneFiles(names, scene, encode, readable=encode is not _truncated)


def _as_it_is(image: Image.Image) -> tuple[bytes, ...]:
    return (jpeg(image),)


def _all_orientations(image: Image.Image) -> tuple[bytes, ...]:
    files = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = image.transpose(_STORE[orientation]) if orientation > 1 else image
        files.append(jpeg(stored, exif.tobytes()))
    return tuple(files)


def _truncated(image: Image.Image) -> tuple[bytes, ...]:
    content = jpeg(image)
    return (content[: len(content) // 2],)


def _truth_rows(settings: SyntheticSettings) -> list[tuple[object, ...]]:
    """Return the rows of album_truth.csv: one per face, boxes in pixels of the upright photo.

    `photo` is relative to album/; `person` is empty for strangers.
    """
    rows = [
        (name, *face.box(), invented_name(GALLERY, face.person) if face.group == GALLERY else "")
        for files in _scene_files(settings)
        if files.readable
        for name in files.names
        for face in files.scene.faces
    ]
    return sorted(rows)


def album(settings: SyntheticSettings) -> Iterator[Drawing]:
    """Yield the photos below album/; a set without scenes has no album."""
    for files in _scene_files(settings):
        yield _drawing("album", settings.seed, files)
    if settings.scenes:
        huge = png_header(60_000, 60_000, 8, 2) + png_chunk(b"IDAT", stored_zlib(bytes(1000)))
        for name, content in (
            ("empty.jpg", b""),
            ("text.jpg", b"Not a photo, whatever the name says.\n"),
            ("garbage.png", png_header(640, 480, 8, 2) + bytes(range(256)) * 8),
            ("huge.png", huge + png_chunk(b"IEND", b"")),
            ("note.txt", b"Photos of the summer party; the originals are with Ann.\n"),
        ):
            yield _file(f"album/odd/{name}", content)


def _drawing(folder: str, seed: int, files: _SceneFiles) -> Drawing:
    latents = [
        photo_latent(seed, face.group, face.person, face.photo) for face in files.scene.faces
    ]
    paths = tuple(f"{folder}/{name}" for name in files.names)
    return Drawing(
        paths, np.stack(latents), lambda tiles: files.encode(draw_scene(seed, files.scene, tiles))
    )


def _file(path: str, content: bytes) -> Drawing:
    return Drawing((path,), np.empty((0, 100)), lambda tiles: (content,))


def _photo(group: int, person: int, number: int) -> str:
    name = invented_name(group, person)
    return f"{name}/{name}_{number:04d}.jpg"


def portraits(settings: SyntheticSettings) -> Iterator[Drawing]:
    """Yield the photos below photos/ and enrol/."""
    seed = settings.seed
    for folder, group, people, photos in (
        ("photos", TRAINING, settings.people, settings.photos),
        ("enrol", GALLERY, settings.gallery, settings.enrol_photos),
    ):
        for person in range(people):
            for number in range(1, photos + 1):
                scene = plan_portrait(seed, group, person, number)
                files = _SceneFiles((_photo(group, person, number),), scene, _as_it_is)
                yield _drawing(folder, seed, files)
    if not settings.has_broken_photos:
        return
    # A truncated, an empty and a text file, and a photo of one person under another.
    number = settings.photos + 1
    for shown, person, encode in (
        ((TRAINING, 0, number), 0, _truncated),
        ((TRAINING, 3, 1), 4, _as_it_is),
    ):
        name = _photo(TRAINING, person, number)
        yield _drawing("photos", seed, _SceneFiles((name,), plan_portrait(seed, *shown), encode))
    yield _file(f"photos/{_photo(TRAINING, 1, number)}", b"")
    note = b"This is a note that somebody saved under a photo's name.\n"
    yield _file(f"photos/{_photo(TRAINING, 2, number)}", note)


TERMS = "Faces of people who do not exist; no rights of persons attach to them."


def make_synthetic(data: Path, settings: SyntheticSettings, weights: Path) -> dict[str, Any]:
    """Make the set in the folder `data` and return its counts; `written` counts new files.

    An interrupted run resumes and a second run writes nothing. `weights`: the generator's file.

    Raises FaceOpsError: the folder holds something else, or cannot be written.
    """
    _check_or_write_sources(data, settings)
    drawings = list(chain(portraits(settings), album(settings)))
    missing = [d for d in drawings if not all((data / path).is_file() for path in d.paths)]
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
            write_csv(truth, TRUTH_COLUMNS, _truth_rows(settings))
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


def _check_or_write_sources(data: Path, settings: SyntheticSettings) -> None:
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
