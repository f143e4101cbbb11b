"""The photos with one face: to train on, to enrol, and the broken ones for validation."""

from collections.abc import Iterator

import numpy as np

from faceops.dataset.synthetic.drawing import Drawing, photo_jpeg
from faceops.dataset.synthetic.invented_names import invented_name
from faceops.dataset.synthetic.latents import GALLERY, TRAINING, photo_latent
from faceops.dataset.synthetic.settings import SyntheticSettings

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
