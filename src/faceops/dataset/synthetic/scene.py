"""Scenes: one to five faces on an ordinary background, and where they are."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from faceops.dataset.synthetic.backgrounds import background
from faceops.dataset.synthetic.latents import GALLERY, STRANGERS
from faceops.dataset.synthetic.turned_face import brightened, turned

# Where YuNet sees the face in a drawn tile, on average, as shares of the tile's side.
FACE_IN_TILE = (0.142, 0.086, 0.689, 0.914)  # x, y, width, height

_SIZES = ((800, 600), (1024, 768), (1152, 864), (1280, 960), (960, 1280))
_SMALLEST, _LARGEST = 90, 220  # height of a face in pixels
_GALLERY_PERCENT = 60  # share of the faces that are of gallery people
_SCENE = 3  # after the three groups of people: the spawn keys of scenes


@dataclass(frozen=True)
class Placed:
    """One face of a scene, to be drawn.

    Attributes:
        group, person: who it is.
        photo: names this photo of the person (see `photo_latent`).
        tile: side of the pasted square, pixels; x, y: its upper left corner.
        degrees, percent: turn and brightness.
    """

    group: int
    person: int
    photo: tuple[int, ...]
    tile: int
    x: int
    y: int
    degrees: int
    percent: int

    def box(self) -> tuple[int, int, int, int]:
        """Return the face's box in the scene: x, y, width, height in pixels."""
        x, y, width, height = (round(share * self.tile) for share in FACE_IN_TILE)
        return self.x + x, self.y + y, width, height


@dataclass(frozen=True)
class Scene:
    """What a scene shows; `draw_scene` makes the pixels."""

    number: int
    size: tuple[int, int]  # width, height
    faces: tuple[Placed, ...]


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SCENE, *key)))


def plan_scene(
    seed: int, number: int, gallery: int, strangers: int, *, only_gallery: bool = False
) -> Scene:
    """Return scene `number`: its size and who stands where; nobody stands in it twice.

    Args:
        gallery, strangers: how many people there are to choose from.
        only_gallery: no strangers (the scenes that are also stored turned or in odd formats).
    """
    rng = _generator(seed, number, 0)
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    count = int(rng.integers(1, 6))
    known = rng.permutation(gallery).tolist()
    unknown = [] if only_gallery else rng.permutation(strangers).tolist()
    column = size[0] // count
    faces = []
    for slot in range(count):
        from_gallery = int(rng.integers(100)) < _GALLERY_PERCENT
        largest = min(_LARGEST, int(column * FACE_IN_TILE[3]))
        height = int(rng.integers(_SMALLEST, largest + 1))
        tile = round(height / FACE_IN_TILE[3])
        x = slot * column + int(rng.integers(0, column - tile + 1))
        y = int(rng.integers(size[1] // 12, size[1] - tile * 3 // 2))
        degrees, percent = int(rng.integers(-12, 13)), int(rng.integers(85, 116))
        people, group = (known, GALLERY) if from_gallery else (unknown, STRANGERS)
        if not people:
            people, group = (unknown, STRANGERS) if from_gallery else (known, GALLERY)
        if not people:
            break
        person = people.pop()
        faces.append(Placed(group, person, (1, number, slot), tile, x, y, degrees, percent))
    return Scene(number, size, tuple(faces))


def _mask(side: int) -> Image.Image:
    """Return the soft ellipse, mode L, through which a tile of that side is pasted."""
    mask = Image.new("L", (side, side), 0)
    soft = max(2, side // 40)
    narrow = side * 8 // 100
    ImageDraw.Draw(mask).ellipse((narrow, soft, side - narrow, side - soft), fill=255)
    return mask.filter(ImageFilter.BoxBlur(soft))


def _draw_body(image: Image.Image, face: Placed, rng: np.random.Generator) -> None:
    colour = tuple(int(value) for value in rng.integers(40, 150, 3))
    left, right = face.x - face.tile // 4, face.x + face.tile * 5 // 4
    top, bottom = face.y + face.tile * 9 // 10, image.height
    draw = ImageDraw.Draw(image)
    draw.ellipse((left, top, right, top + face.tile), fill=colour)
    if bottom > top + face.tile // 2:
        draw.rectangle((left, top + face.tile // 2, right, bottom), fill=colour)


def draw_scene(seed: int, scene: Scene, tiles: np.ndarray) -> Image.Image:
    """Return the scene's pixels, RGB.

    Args:
        tiles: uint8 (faces, 64, 64, 3): the drawn face of each of `scene.faces`.
    """
    rng = _generator(seed, scene.number, 1)
    image = background(rng, scene.size)
    for face in sorted(scene.faces, key=lambda face: face.tile):  # the nearer ones in front
        _draw_body(image, face, rng)
    for face, tile in zip(scene.faces, tiles, strict=True):
        side = (face.tile, face.tile)
        large = np.asarray(Image.fromarray(tile).resize(side, Image.Resampling.BICUBIC))
        pixels = brightened(turned(large, face.degrees), face.percent)
        image.paste(Image.fromarray(pixels), (face.x, face.y), _mask(face.tile))
    return image
