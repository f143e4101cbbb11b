"""The map of faces: reproducible, each face in its own cell, none where there is too little."""

import numpy as np
import pytest

from faceops.embedding.training.figures import choose_faces, draw_similarity_map, place
from tests.verification.population import unit_rows


def clusters(people: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    return unit_rows(0, people, photos, np.full(16, 0.12))


def test_people_with_several_photos_are_chosen_and_their_photos_limited():
    rows = choose_faces(np.array(["one", *["two"] * 2, *["ten"] * 10]), 0)
    assert np.bincount((rows > 0).astype(int) + (rows > 2)).tolist() == [0, 2, 8]


def test_similar_faces_are_near_and_each_has_its_own_cell():
    embeddings, persons = clusters(10, 4)
    cells = place(embeddings, 0)
    assert len(np.unique(cells, axis=0)) == 40
    gaps = np.abs(cells[:, None] - cells).max(-1)
    same = persons[:, None] == persons
    assert np.median(gaps[same]) < np.median(gaps[~same]) / 3


@pytest.mark.parametrize("with_crops", [True, False])
def test_the_same_faces_give_the_same_map(with_crops):
    crops = np.full((12, 112, 112, 3), 200, np.uint8) if with_crops else None
    first, second = (draw_similarity_map(*clusters(4, 3), crops) for _ in range(2))
    assert first and second
    assert first.tobytes() == second.tobytes()
    assert ((200, 200, 200) in {colour for _, colour in first.getcolors(99_999)}) == with_crops


@pytest.mark.parametrize(
    ("people", "photos", "value"), [(2, 4, 1.0), (20, 1, 1.0), (0, 3, 1.0), (4, 3, np.nan)]
)
def test_there_is_no_map_of_too_few_faces(people, photos, value):
    embeddings, persons = clusters(people, photos)
    assert draw_similarity_map(embeddings * value, persons) is None
    collapsed = np.full((12, 16), 0.25, np.float32)
    assert draw_similarity_map(collapsed, clusters(4, 3)[1])  # is drawn too
