"""Ordinary backgrounds for scenes, drawn with whole numbers: the same pixels on every CPU."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

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
    """Leaves over leaves."""
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
    """Blurred lights in the dark."""
    width, height = size
    image = Image.new("RGB", size, _colour(rng, 15, 50))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = int(rng.integers(6, 40))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng, 50, 230))
    return _roughened(image.filter(ImageFilter.BoxBlur(5)), _texture(rng, size, 200, 20))


def bricks(rng: np.random.Generator, size: Size) -> Image.Image:
    """A brick wall."""
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
