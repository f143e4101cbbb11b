"""Which faces are asked about, in which order, of made-up decisions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceops.base.reasons import CODES, IDENTIFIED, NO_REASON, REJECTED, UNKNOWN, Reason
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.store import Gallery
from faceops.identification.engine.decide import NamingRule
from faceops.identification.engine.verdicts import NOBODY
from faceops.review.decided import DecidedAlbum
from faceops.review.lists import groups, person_rows, pile_rows, piles, to_confirm
from faceops.verification.thresholds import NamingLimits
from tests.identification.made_up_run import named_block

BUDGET = 0.01
PEOPLE = ["Ada", "Ben"]


def album(
    *faces: tuple[int, Reason | None, int, float, float],
    copies: bool = False,
    forgotten: tuple[int, ...] = (),
) -> DecidedAlbum:
    """Return an album of a photo a face: kind, reason, best person, probability, stranger share.

    With `copies` all photos have the same bytes.
    """
    count = len(faces)
    columns = {
        "kind": np.array([face[0] for face in faces], np.int8),
        "reason": np.array([CODES[face[1]] for face in faces], np.int8),
        "best": np.array([face[2] for face in faces], np.int32),
        "probability": np.array([face[3] for face in faces], np.float32),
        "stranger_share": np.array([face[4] for face in faces], np.float32),
        "forgotten": np.isin(np.arange(count), forgotten),
    }
    paths = ["same.jpg" if copies else f"{number}.jpg" for number in range(count)]
    made = named_block(Path("/photos"), paths, np.ones(count, np.int64), PEOPLE, columns)
    rule = NamingRule(NamingLimits(0.9, 1.0))
    gallery = Gallery(Path("gallery"), "c" * 64, 4)
    unknown = np.zeros(count, np.int64)
    return DecidedAlbum(
        made.photos, paths, made.decisions, PEOPLE, PEOPLE, unknown, gallery, rule, BUDGET
    )


NAN = float("nan")
BELOW, AMBIGUOUS = Reason.BELOW_THRESHOLD, Reason.AMBIGUOUS


@pytest.mark.parametrize(
    ("face", "asked"),
    [
        ((UNKNOWN, BELOW, 0, 0.9, 0.05), True),
        ((UNKNOWN, BELOW, 0, 0.9, 0.3), False),  # too many strangers are as like
        ((UNKNOWN, BELOW, 0, 0.6, NAN), True),  # a release without normalised scores
        ((UNKNOWN, BELOW, 0, 0.4, NAN), False),
        ((UNKNOWN, AMBIGUOUS, 0, 0.9, 0.3), True),
        ((UNKNOWN, Reason.REFUSED_BY_PERSON, 1, 0.9, 0.05), True),  # the runner-up
        ((UNKNOWN, Reason.GALLERY_EMPTY, NOBODY, NAN, NAN), False),
        ((IDENTIFIED, None, 0, 0.99, 0.0001), False),
        ((IDENTIFIED, None, 0, 0.99, 0.002), True),  # near the limit
        ((IDENTIFIED, Reason.CONFIRMED, 0, 0.9, 0.005), False),
        ((REJECTED, Reason.IGNORED, NOBODY, NAN, NAN), False),
        ((REJECTED, Reason.LOW_QUALITY, NOBODY, NAN, NAN), False),
    ],
)
def test_faces_are_asked_about_where_a_person_is_plausible(face, asked):
    assert to_confirm(album(face)).tolist() == ([0] if asked else [])


def test_the_likeliest_comes_first_and_the_largest_pile():
    some = album(
        (UNKNOWN, BELOW, 0, 0.7, 0.04),
        (UNKNOWN, BELOW, 1, 0.9, 0.02),
        (UNKNOWN, BELOW, 0, 0.8, 0.03),
        (UNKNOWN, AMBIGUOUS, 0, 0.95, 0.001),
    )
    assert pile_rows(some, "Ada").tolist() == [3, 2, 0]
    assert [(pile.person, pile.faces) for pile in piles(some)] == [("Ada", 3), ("Ben", 1)]
    assert piles(some)[1].keys == [some.key(1)]
    assert pile_rows(some, "Nobody").tolist() == []


def test_copies_of_a_photo_and_forgotten_faces_are_not_asked_about():
    face = (UNKNOWN, BELOW, 0, 0.9, 0.05)
    assert to_confirm(album(face, face, copies=True)).tolist() == [0]
    assert to_confirm(album(face, face, forgotten=(0,))).tolist() == [1]


def test_a_person_shows_the_least_sure_face_first_and_confirmed_ones_last():
    some = album(
        (IDENTIFIED, Reason.CONFIRMED, 0, 0.1, 0.9),
        (IDENTIFIED, None, 0, 0.99, 0.001),
        (IDENTIFIED, None, 0, 0.95, 0.004),
        (IDENTIFIED, None, 1, 0.95, 0.004),
    )
    assert person_rows(some, "Ada").tolist() == [2, 1, 0]
    assert some.is_near_limit.tolist() == [False, True, True, True]


def test_a_group_is_perhaps_the_person_of_half_of_its_faces_with_their_median_chance(bundle):
    size = bundle.release.embedding_size
    ada, ben = np.eye(2, size, dtype=np.float32)
    enrolled = [
        GalleryFace(name, "a" * 64, "a.jpg", (0, 0, 9, 9), 0.9, 0.9, one, "b" * 64)
        for name, one in zip(PEOPLE, (ada, ben), strict=True)
    ]
    as_ada, as_ben = (UNKNOWN, BELOW, 0, 0.99, NAN), (UNKNOWN, BELOW, 1, 0.99, NAN)
    for faces, name in (((as_ada, as_ada, as_ben), "Ada"), ((as_ada, as_ben, as_ben), "Ben")):
        some = album(*faces)
        embeddings = np.stack([(ada, ben)[face[2]] for face in faces])
        some = replace(
            some,
            photos=replace(some.photos, embeddings=embeddings),
            gallery=Gallery(Path("gallery"), "c" * 64, size, tuple(enrolled)),
            unknown=np.ones(3, np.int64),
        )
        (group,) = groups(some, bundle, Decisions([]))
        (same,) = bundle.verify(ada[None], ada[None])
        assert (group.perhaps, group.chance) == (name, pytest.approx(float(same), abs=1e-5))


def test_people_keep_their_faces_when_others_join_or_leave():
    some = album((IDENTIFIED, None, 1, 0.99, 0.0), (UNKNOWN, BELOW, 0, 0.9, 0.05))
    renamed = some.renamed("Ben", "Zoe")
    assert [renamed.people[one] for one in renamed.faces.best] == ["Zoe", "Ada"]
    merged = some.renamed("Ben", "Ada")
    assert [merged.people[one] for one in merged.faces.best] == ["Ada", "Ada"]
    assert merged.faces.reason.tolist()[0] == NO_REASON
