"""The album: scenes to identify people in, their truth, and a folder of odd files."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from faceops.dataset.synthetic.encode import jpeg, png, png_chunk, png_header, stored_zlib
from faceops.dataset.synthetic.generator import BATCH, GALLERY, TRAINING, Draw, photo_latent
from faceops.dataset.synthetic.scenes import Scene, draw_scene, plan_scene
from faceops.dataset.synthetic.settings import SyntheticSettings, invented_name
from faceops.photos.pixels import ORIENTATION

PHOTO_SIDE = 160  # pixels: the detector finds 98 to 99 % of the faces at this size


@dataclass(frozen=True)
class Drawing:
    """One drawing, that gives one or more files.

    Attributes:
        paths: of its files, POSIX, relative to the data folder.
        latents: float64 (faces, 100).
        finish: from the faces, uint8 (faces, 64, 64, 3), to the bytes of each of `paths`.
    """

    paths: tuple[str, ...]
    latents: np.ndarray
    finish: Callable[[np.ndarray], tuple[bytes, ...]]


def photo_jpeg(tiles: np.ndarray) -> bytes:
    """Return the one face of `tiles` as a photo of its own."""
    side = (PHOTO_SIDE, PHOTO_SIDE)
    return jpeg(Image.fromarray(tiles[0]).resize(side, Image.Resampling.BICUBIC))


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

# What turns an upright photo into the one that a camera held so would store.
_STORE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_TURNED = tuple(f"odd/orientation_{orientation}.jpg" for orientation in range(1, 9))

# Numbers of the scenes behind the odd files, past those of the album's own.
_TURNED_SCENE, _TRUNCATED_SCENE, _CMYK_SCENE, _GREY_SCENE = 1000, 1001, 1002, 1003


def _odd_scene(settings: SyntheticSettings, number: int) -> Scene:
    return plan_scene(settings.seed, number, settings.gallery, 0, only_gallery=True)


def _scenes(settings: SyntheticSettings) -> Iterator[tuple[str, Scene]]:
    """Yield every album photo that has faces to be found, and its scene."""
    for number in range(1, settings.scenes + 1):
        scene = plan_scene(settings.seed, number, settings.gallery, settings.strangers)
        yield f"scene_{number:03d}.jpg", scene
    if settings.scenes:
        for name in _TURNED:
            yield name, _odd_scene(settings, _TURNED_SCENE)
        yield "odd/cmyk.jpg", _odd_scene(settings, _CMYK_SCENE)
        yield "odd/grey_16_bit.png", _odd_scene(settings, _GREY_SCENE)


def album_truth(settings: SyntheticSettings) -> bytes:
    """Return album_truth.csv: a row a face, boxes in pixels of the upright photo.

    `photo` is relative to album/; `person` is empty for strangers.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TRUTH_COLUMNS)
    rows = [
        (name, *face.box(), invented_name(GALLERY, face.person) if face.group == GALLERY else "")
        for name, scene in _scenes(settings)
        for face in scene.faces
    ]
    writer.writerows(sorted(rows))
    return text.getvalue().encode()


def _latents(seed: int, scene: Scene) -> np.ndarray:
    faces = scene.faces
    return np.stack([photo_latent(seed, face.group, face.person, face.photo) for face in faces])


def album(settings: SyntheticSettings) -> Iterator[Drawing]:
    """Yield the photos below album/; a set without scenes has no album."""
    if not settings.scenes:
        return
    seed = settings.seed
    for number in range(1, settings.scenes + 1):
        scene = plan_scene(seed, number, settings.gallery, settings.strangers)
        yield Drawing(
            (f"album/scene_{number:03d}.jpg",),
            _latents(seed, scene),
            partial(_finish, seed, scene, _plain),
        )
    for names, number, encode in (
        (_TURNED, _TURNED_SCENE, _turned),
        (("odd/truncated.jpg",), _TRUNCATED_SCENE, _truncated),
        (("odd/cmyk.jpg",), _CMYK_SCENE, _cmyk),
        (("odd/grey_16_bit.png",), _GREY_SCENE, _grey),
    ):
        scene = _odd_scene(settings, number)
        yield Drawing(
            tuple(f"album/{name}" for name in names),
            _latents(seed, scene),
            partial(_finish, seed, scene, encode),
        )
    for name, content in _without_faces().items():
        yield Drawing((f"album/odd/{name}",), np.empty((0, 100)), partial(_given, content))


def _finish(
    seed: int, scene: Scene, encode: Callable[[Image.Image], tuple[bytes, ...]], tiles: np.ndarray
) -> tuple[bytes, ...]:
    return encode(draw_scene(seed, scene, tiles))


def _given(content: bytes, tiles: np.ndarray) -> tuple[bytes, ...]:
    return (content,)


def _plain(image: Image.Image) -> tuple[bytes, ...]:
    return (jpeg(image),)


def _turned(image: Image.Image) -> tuple[bytes, ...]:
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


def _cmyk(image: Image.Image) -> tuple[bytes, ...]:
    return (jpeg(image.convert("CMYK")),)


def _grey(image: Image.Image) -> tuple[bytes, ...]:
    return (png(np.asarray(image.convert("L"), np.uint16) * 257),)


def _without_faces() -> dict[str, bytes]:
    """Return the files in which there is nothing to find: name -> content."""
    garbage = bytes(range(256)) * 8
    huge = png_header(60_000, 60_000, 8, 2) + png_chunk(b"IDAT", stored_zlib(bytes(1000)))
    return {
        "empty.jpg": b"",
        "text.jpg": b"Not a photo, whatever the name says.\n",
        "garbage.png": png_header(640, 480, 8, 2) + garbage,
        "huge.png": huge + png_chunk(b"IEND", b""),
        "note.txt": b"Photos of the summer party; the originals are with Ann.\n",
    }


_TEXT = "This is a note that somebody saved under a photo's name.\n"


def _path(folder: str, group: int, person: int, number: int) -> str:
    name = invented_name(group, person)
    return f"{folder}/{name}/{name}_{number:04d}.jpg"


def _portrait(seed: int, group: int, person: int, number: int, path: str) -> Drawing:
    latent = photo_latent(seed, group, person, (0, number))
    return Drawing((path,), latent[None], lambda tiles: (photo_jpeg(tiles),))


def portraits(settings: SyntheticSettings) -> Iterator[Drawing]:
    """Yield the photos below photos/ and enrol/."""
    for folder, group, people, photos in (
        ("photos", TRAINING, settings.people, settings.photos),
        ("enrol", GALLERY, settings.gallery, settings.enrol_photos),
    ):
        for person in range(people):
            for number in range(1, photos + 1):
                path = _path(folder, group, person, number)
                yield _portrait(settings.seed, group, person, number, path)
    if settings.has_broken_photos:
        yield from _broken(settings)


def _broken(settings: SyntheticSettings) -> Iterator[Drawing]:
    """Yield a truncated, an empty and a text file, and a photo that lies under two people."""
    number = settings.photos + 1
    seed, nobody = settings.seed, np.empty((0, 100))
    truncated = photo_latent(seed, TRAINING, 0, (0, number))
    yield Drawing(
        (_path("photos", TRAINING, 0, number),),
        truncated[None],
        lambda tiles: (photo_jpeg(tiles)[:3000],),
    )
    yield Drawing((_path("photos", TRAINING, 1, number),), nobody, lambda tiles: (b"",))
    yield Drawing((_path("photos", TRAINING, 2, number),), nobody, lambda tiles: (_TEXT.encode(),))
    yield _portrait(seed, TRAINING, 3, 1, _path("photos", TRAINING, 4, number))
