"""Scenes: one to five faces on a drawn background, with their boxes; portraits are small ones."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from faceops.dataset.synthetic.people import GALLERY, STRANGERS, brightened, turned

Size = tuple[int, int]
Colour = tuple[int, int, int]


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _texture(rng: np.random.Generator, size: Size, cell: int, strength: int) -> np.ndarray:
    """Return smooth noise, int16 (H, W, 1), from -strength to strength, cells of `cell` pixels."""
    width, height = size
    shape = (height // cell + 2, width // cell + 2)
    coarse = rng.integers(0, 256, shape).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    return ((np.asarray(smooth, np.int16)[..., None] - 128) * strength) // 128


def _roughened(image: Image.Image, *textures: np.ndarray) -> Image.Image:
    pixels = np.asarray(image, np.int16)
    for texture in textures:
        pixels = pixels + texture
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def landscape(rng: np.random.Generator, size: Size) -> Image.Image:
    """Sky over ground, a hedge of round bushes at the horizon."""
    width, height = size
    horizon = int(rng.integers(height * 2 // 5, height * 3 // 5))
    top, low = _colour(rng, 90, 180), _colour(rng, 160, 240)
    steps = np.arange(height)[:, None]
    sky = (np.array(top) * (height - steps) + np.array(low) * steps) // height
    pixels = np.repeat(sky[:, None].astype(np.uint8), width, axis=1)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, horizon, width, height), fill=_colour(rng, 60, 130))
    for _ in range(30):
        x, radius = int(rng.integers(0, width)), int(rng.integers(20, 80))
        green = int(rng.integers(60, 120))
        box = (x - radius, horizon - radius, x + radius, horizon + radius // 2)
        draw.ellipse(box, fill=(green // 2, green, green // 3))
    return _roughened(image, _texture(rng, size, 90, 20), _texture(rng, size, 7, 14))


def room(rng: np.random.Generator, size: Size) -> Image.Image:
    """A wall with framed pictures, a floor, light falling off towards the corners."""
    width, height = size
    wall = _colour(rng, 130, 220)
    image = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 6))):
        x, y = int(rng.integers(0, width - 80)), int(rng.integers(0, height // 2))
        w, h = (int(side) for side in rng.integers(60, 220, 2))
        draw.rectangle((x, y, x + w, y + h), fill=_colour(rng, 30, 110))
        draw.rectangle((x + 9, y + 9, x + w - 9, y + h - 9), fill=_colour(rng, 120, 230))
        draw.ellipse((x + 20, y + 20, x + w - 20, y + h - 20), fill=_colour(rng, 60, 200))
    floor = int(rng.integers(height * 3 // 4, height))
    draw.rectangle((0, floor, width, height), fill=_colour(rng, 70, 150))
    return _roughened(image, _texture(rng, size, 300, 30), _texture(rng, size, 3, 6))


def foliage(rng: np.random.Generator, size: Size) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, (30, 50, 25))
    draw = ImageDraw.Draw(image)
    for _ in range(900):
        x, y = int(rng.integers(-20, width)), int(rng.integers(-20, height))
        w, h = (int(side) for side in rng.integers(10, 48, 2))
        green = int(rng.integers(50, 170))
        leaf = (green * int(rng.integers(30, 80)) // 100, green, green * 2 // 5)
        draw.ellipse((x, y, x + w, y + h), fill=leaf)
    return _roughened(image.filter(ImageFilter.BoxBlur(1)), _texture(rng, size, 120, 40))


def lights(rng: np.random.Generator, size: Size) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, _colour(rng, 15, 50))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = int(rng.integers(6, 40))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng, 50, 230))
    return _roughened(image.filter(ImageFilter.BoxBlur(5)), _texture(rng, size, 200, 20))


def bricks(rng: np.random.Generator, size: Size) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, _colour(rng, 150, 190))
    draw = ImageDraw.Draw(image)
    red, green, blue = _colour(rng, 70, 130)
    for row, y in enumerate(range(0, height, 34)):
        for x in range(-40 * (row % 2), width, 80):
            shade = int(rng.integers(-18, 18))
            brick = (red + 40 + shade, green + shade, blue + shade)
            draw.rectangle((x + 2, y + 2, x + 76, y + 30), fill=brick)
    return _roughened(image, _texture(rng, size, 150, 25), _texture(rng, size, 4, 14))


KINDS = (landscape, room, foliage, lights, bricks)


def background(rng: np.random.Generator, size: Size) -> Image.Image:
    """Return one of the kinds of background, RGB, `size` = (width, height) pixels."""
    return KINDS[int(rng.integers(len(KINDS)))](rng, size)


@cache
def _places(seed: int) -> tuple[Image.Image, ...]:
    """Return a few backgrounds of each kind, 1280 x 960 pixels."""
    rngs = [_generator(seed, number, 2) for number in range(2 * len(KINDS))]
    return tuple(kind(rng, (1280, 960)) for kind, rng in zip(KINDS * 2, rngs, strict=True))


def part_of_a_place(seed: int, rng: np.random.Generator, size: Size) -> Image.Image:
    """Return a window of one of a few backgrounds: a tenth of the time of drawing one."""
    places = _places(seed)
    place = places[int(rng.integers(len(places)))]
    x, y = (
        int(rng.integers(whole - part + 1)) for whole, part in zip(place.size, size, strict=True)
    )
    return place.crop((x, y, x + size[0], y + size[1]))


# The box that YuNet detects in a drawn tile, on average, as shares of the tile's side.
FACE_IN_TILE = (0.142, 0.086, 0.689, 0.914)  # x, y, width, height

_SIZES = ((800, 600), (1024, 768), (1152, 864), (1280, 960), (960, 1280))
_SMALLEST, _LARGEST = 90, 220  # height of a face in pixels
_MOST_FACES = 5
_GALLERY_PERCENT = 60  # share of the faces that are of gallery people
_SCENE = 3  # after the three groups of people: the spawn keys of scenes


@dataclass(frozen=True)
class PlacedFace:
    group: int
    person: int
    photo: tuple[int, ...]  # identifies this photo of the person, see `photo_latent`
    tile: int  # side of the pasted square, pixels
    x: int  # of its upper left corner
    y: int
    degrees: int  # of rotation, clockwise
    percent: int  # of brightness

    def box(self) -> tuple[int, int, int, int]:
        """Return the face's box in the scene: x, y, width, height in pixels."""
        x, y, width, height = (round(share * self.tile) for share in FACE_IN_TILE)
        return self.x + x, self.y + y, width, height


@dataclass(frozen=True)
class Scene:
    """The content of a scene; `draw_scene` makes the pixels.

    `key` names the scene: its number, or of a portrait the group, the person and the photo.
    """

    key: tuple[int, ...]
    size: Size  # width, height
    faces: tuple[PlacedFace, ...]


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SCENE, *key)))


def _tile(rng: np.random.Generator, column: int) -> int:
    """Return the side of a tile whose face fits into a column of the scene, pixels."""
    largest = min(_LARGEST, int(column * FACE_IN_TILE[3]))
    return round(int(rng.integers(_SMALLEST, largest + 1)) / FACE_IN_TILE[3])


def _turn_and_brightness(rng: np.random.Generator) -> tuple[int, int]:
    """Return degrees and per cent."""
    return int(rng.integers(-12, 13)), int(rng.integers(85, 116))


def plan_portrait(seed: int, group: int, person: int, number: int) -> Scene:
    """Return a photo of one person, cut out of a scene: its face is as those of scenes are."""
    key = (group, person, number)
    rng = _generator(seed, *key, 0)
    width = _SIZES[int(rng.integers(len(_SIZES)))][0]
    tile = _tile(rng, width // int(rng.integers(1, _MOST_FACES + 1)))
    face = PlacedFace(
        group, person, (0, number), tile, tile // 8, tile // 8, *_turn_and_brightness(rng)
    )
    return Scene(key, (tile * 5 // 4, tile * 11 // 8), (face,))


def plan_scene(
    seed: int, number: int, gallery: int, strangers: int, *, only_gallery: bool = False
) -> Scene:
    """Return scene `number`: its size and its faces, each of another person.

    `gallery`, `strangers`: numbers of people to choose from.
    """
    rng = _generator(seed, number, 0)
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    count = int(rng.integers(1, _MOST_FACES + 1))
    known = rng.permutation(gallery).tolist()
    unknown = [] if only_gallery else rng.permutation(strangers).tolist()
    column = size[0] // count
    faces = []
    for slot in range(count):
        from_gallery = int(rng.integers(100)) < _GALLERY_PERCENT
        tile = _tile(rng, column)
        x = slot * column + int(rng.integers(0, column - tile + 1))
        y = int(rng.integers(size[1] // 12, size[1] - tile * 3 // 2))
        turn_and_brightness = _turn_and_brightness(rng)
        people, group = (known, GALLERY) if from_gallery else (unknown, STRANGERS)
        if not people:
            people, group = (unknown, STRANGERS) if from_gallery else (known, GALLERY)
        if not people:
            break
        person = people.pop()
        photo = (1, number, slot)
        faces.append(PlacedFace(group, person, photo, tile, x, y, *turn_and_brightness))
    return Scene((number,), size, tuple(faces))


@cache
def _mask(side: int) -> Image.Image:
    """Return the soft ellipse, mode L, through which a tile of that side is pasted."""
    mask = Image.new("L", (side, side), 0)
    soft = max(2, side // 40)
    narrow = side * 8 // 100
    ImageDraw.Draw(mask).ellipse((narrow, soft, side - narrow, side - soft), fill=255)
    return mask.filter(ImageFilter.BoxBlur(soft))


def _draw_body(image: Image.Image, face: PlacedFace, rng: np.random.Generator) -> None:
    colour = tuple(int(value) for value in rng.integers(40, 150, 3))
    left, right = face.x - face.tile // 4, face.x + face.tile * 5 // 4
    top, bottom = face.y + face.tile * 9 // 10, image.height
    draw = ImageDraw.Draw(image)
    draw.ellipse((left, top, right, top + face.tile), fill=colour)
    if bottom > top + face.tile // 2:
        draw.rectangle((left, top + face.tile // 2, right, bottom), fill=colour)


def draw_scene(seed: int, scene: Scene, tiles: np.ndarray) -> Image.Image:
    """Return the scene's pixels, RGB.

    `tiles`: uint8 (faces, 64, 64, 3): the drawn face of each of `scene.faces`.
    """
    rng = _generator(seed, *scene.key, 1)
    is_portrait = len(scene.key) > 1
    image = part_of_a_place(seed, rng, scene.size) if is_portrait else background(rng, scene.size)
    for face in sorted(scene.faces, key=lambda face: face.tile):  # the nearer ones in front
        _draw_body(image, face, rng)
    for face, tile in zip(scene.faces, tiles, strict=True):
        side = (face.tile, face.tile)
        large = np.asarray(Image.fromarray(tile).resize(side, Image.Resampling.BICUBIC))
        pixels = brightened(turned(large, face.degrees), face.percent)
        image.paste(Image.fromarray(pixels), (face.x, face.y), _mask(face.tile))
    return image
