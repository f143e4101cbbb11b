"""Who a synthetic person is: a fixed latent vector, and one near it for each photo."""

import numpy as np

LATENT_SIZE = 100
# Size of the change from photo to photo, relative to the person's own vector. At 0.3 an
# independent embedding gives a mean cosine of .62 within and .18 between people.
NOISE = 0.3

# The groups of people: no two of them share a person.
TRAINING, GALLERY, STRANGERS = 0, 1, 2

_PERSON, _PHOTO = 0, 1  # first part of a spawn key after the group and the person


def person_latent(seed: int, group: int, person: int) -> np.ndarray:
    """Return the latent of one person, float64 (100,), drawn from its own seed."""
    key = (group, person, _PERSON)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return generator.standard_normal(LATENT_SIZE)


def photo_latent(seed: int, group: int, person: int, photo: tuple[int, ...]) -> np.ndarray:
    """Return the latent of one photo of a person, float64 (100,).

    Args:
        photo: what names the photo among the person's photos, for instance (number,).
    """
    key = (group, person, _PHOTO, *photo)
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return person_latent(seed, group, person) + NOISE * generator.standard_normal(LATENT_SIZE)
