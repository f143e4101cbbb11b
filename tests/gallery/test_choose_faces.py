"""Of several faces in an enrolment photo, the one that matches the person's others."""

import numpy as np

from faceops.gallery.choose_faces import choose_faces, dissimilar_photos

ANN, BEN, CAT = np.eye(3, 8, dtype=np.float32)
NOBODY = np.zeros((0, 8), np.float32)


def verify(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.exp(-((a - b) ** 2).sum(axis=1))


def chosen(*photos: list[np.ndarray], known: np.ndarray = NOBODY) -> list[int | None]:
    return choose_faces([np.stack(photo) for photo in photos], known, verify, lambda faces: 0.5)


def test_the_only_face_is_chosen() -> None:
    assert chosen([ANN]) == [0]


def test_the_face_that_matches_single_faces_is_chosen() -> None:
    assert chosen([BEN, ANN], [ANN], [CAT, BEN]) == [1, 0, None]


def test_the_face_that_matches_enrolled_faces_is_chosen() -> None:
    assert chosen([BEN, ANN], known=ANN[None]) == [1]


def test_the_face_common_to_all_photos_is_chosen() -> None:
    assert chosen([BEN, ANN], [ANN, CAT]) == [1, 0]


def test_two_people_who_are_always_together_are_ambiguous() -> None:
    assert chosen([BEN, ANN], [ANN, BEN]) == [None, None]


def test_several_faces_without_a_reference_are_ambiguous() -> None:
    assert chosen([BEN, ANN]) == [None]


def strange(*photos: list[np.ndarray], known: np.ndarray = NOBODY) -> set[int]:
    return dissimilar_photos(
        [np.stack(photo) for photo in photos], known, verify, lambda faces: 0.5
    )


def test_a_face_unlike_others_that_match_is_found() -> None:
    assert strange([ANN], [BEN], [ANN]) == {1}
    assert strange([ANN], [BEN], [ANN], [CAT]) == {1, 3}


def test_enrolled_faces_are_the_only_reference() -> None:
    assert strange([BEN], known=np.stack([ANN, ANN])) == {0}
    assert strange([BEN], [BEN], known=ANN[None]) == {0, 1}
    assert strange([ANN], [BEN], [BEN], known=ANN[None]) == {1, 2}
    assert strange([ANN], [CAT, BEN], known=np.stack([ANN, CAT])) == set()


def test_where_no_two_match_no_face_is_found() -> None:
    assert strange([ANN], [BEN]) == set()
    assert strange([ANN], [BEN], [CAT]) == set()
    assert strange([ANN]) == set()


def test_two_equal_groups_and_photos_of_several_faces_are_accepted() -> None:
    assert strange([ANN], [BEN], [ANN], [BEN]) == set()
    assert strange([ANN], [ANN], [BEN, CAT]) == set()
