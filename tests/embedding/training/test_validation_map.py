"""The map of validation people: the same again, legible, and none where there is too little."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from faceops.embedding.validation import PHOTOS, draw_tsne


def clusters(people: int, photos: int, spread: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(people, 16)).repeat(photos, axis=0)
    faces = centres + spread * 4 * draw.normal(size=centres.shape)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    return faces.astype(np.float32), np.arange(people).repeat(photos)


def places(figure: Figure | None) -> list[np.ndarray]:
    """Return the points, an array a person."""
    assert figure is not None
    return [np.asarray(group.get_offsets()) for group in figure.axes[0].collections]


def test_people_are_parted_the_most_photographed_chosen_and_photos_limited() -> None:
    embeddings, labels = clusters(4, 14)
    few, strangers = clusters(9, 2)
    figure = draw_tsne(
        np.concatenate([few, embeddings]), np.concatenate([strangers + 100, labels]), people=4
    )
    groups = places(figure)
    assert [len(group) for group in groups] == [PHOTOS] * 4
    assert figure is not None
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["person 0", "person 1", "person 2", "person 3"]
    looks = {
        (tuple(group.get_facecolor()[0]), group.get_paths()[0].vertices.tobytes())
        for group in figure.axes[0].collections
    }
    assert len(looks) == 4
    within = max(np.ptp(group, axis=0).max() for group in groups)
    middles = np.stack([group.mean(axis=0) for group in groups])
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > within


def test_the_same_faces_give_the_same_map() -> None:
    embeddings, labels = clusters(3, 3)
    both = [np.concatenate(places(draw_tsne(embeddings, labels))) for _ in range(2)]
    assert np.array_equal(*both)


def test_six_faces_are_enough_and_long_names_are_cut() -> None:
    embeddings, labels = clusters(3, 2)
    names = np.array(["Ann", "Wolfeschlegelsteinhausenbergerdorff", "Bo"])[labels]
    figure = draw_tsne(embeddings, names)
    assert [len(group) for group in places(figure)] == [2, 2, 2]
    assert figure is not None
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["Ann", "Bo", "Wolfeschlegelst…"]


def test_a_collapsed_embedding_is_drawn_too() -> None:
    _, labels = clusters(4, 3)
    groups = places(draw_tsne(np.full((12, 16), 0.25, np.float32), labels))
    assert np.isfinite(np.concatenate(groups)).all()


@pytest.mark.parametrize(
    ("people", "photos", "value"), [(2, 2, 1.0), (1, 9, 1.0), (9, 1, 1.0), (3, 4, np.nan)]
)
def test_there_is_no_map_of_too_little(people: int, photos: int, value: float) -> None:
    embeddings, labels = clusters(people, photos)
    assert draw_tsne(embeddings * value, labels) is None
    assert draw_tsne(embeddings[:0], labels[:0]) is None
