"""A released model, a gallery, and a function that names the one face of a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceops.base.reasons import NO_REASON
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import NamingRule, decide
from faceops.identification.engine.ranking import rank_people
from faceops.identification.engine.verdicts import NOBODY
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import Bundle

NameOf = Callable[[Path], str | None]


@pytest.fixture(scope="session")
def held_out(synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The enrolled people's third photos, by person."""
    folder = tmp_path_factory.mktemp("behaviour")
    for person in sorted((synthetic_set / "enrol").iterdir()):
        for number, photo in enumerate(sorted(person.iterdir())):
            target = folder / ("held_out" if number == 2 else "enrol") / person.name
            target.mkdir(parents=True, exist_ok=True)
            (target / photo.name).symlink_to(photo)
    return folder / "held_out"


@pytest.fixture(scope="session")
def name_of(sface_bundle: Path, held_out: Path) -> NameOf:
    """Return the name that the default budget gives the largest face of a photo."""
    bundle = Bundle.load(sface_bundle)
    folder = held_out.parent / "gallery"
    enrol(held_out.parent / "enrol", folder, bundle)
    gallery = Gallery.open(folder)
    thresholds = bundle.release.thresholds
    rule = NamingRule.for_gallery(thresholds, gallery, thresholds.default_budget)
    finder = bundle.face_finder()

    def named(photo: Path) -> str | None:
        faces = finder.find(open_photo(photo).pixels)
        if not faces:
            return None
        crop = max(faces, key=lambda face: face.detection.size).crop
        ranked = rank_people(
            bundle.embed(crop[None])[0], gallery.embeddings, gallery.person_rows, bundle.verify
        )
        decisions = decide(ranked, np.zeros(1, int), np.full(1, NO_REASON, np.int8), rule.limits)
        person = int(decisions.person[0])
        return None if person == NOBODY else gallery.people[person]

    return named


@pytest.fixture(scope="session")
def named_photos(held_out: Path, name_of: NameOf) -> dict[Path, str]:
    """The held-out photos that get a name, with it."""
    named = {photo: name_of(photo) for photo in sorted(held_out.glob("*/*"))}
    return {photo: name for photo, name in named.items() if name is not None}
