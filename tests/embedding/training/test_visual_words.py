"""Words are what patches of training faces look like, and are learnt once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.descriptors.fisher_vectors import FisherVectors
from faceops.embedding.embed_crops import pixels_of
from faceops.embedding.embedder import Embedder
from faceops.embedding.training import visual_words
from faceops.embedding.training.visual_words import kept_words, learn_words
from tests.embedding.descriptors.test_fisher_vectors import likelihood
from tests.embedding.faces_for_training import coloured_people

TRAIN, OTHERS = coloured_people(8, 4, noise=90), coloured_people(6, 4, seed=5, noise=90)


def untrained() -> Embedder:
    torch.manual_seed(0)
    return build_backbone("descriptors", 24, 112, "grey").eval()


def vectors_of(model: Embedder) -> FisherVectors:
    return next(part for part in model.modules() if isinstance(part, FisherVectors))


def words_of(model: Embedder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vectors_of(model).state_dict().items()}


def alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_patches_of_faces_not_seen_are_likelier_by_learnt_words() -> None:
    model = untrained()
    vectors = vectors_of(model)
    brightness = pixels_of(OTHERS.crops[:2]).mean(1, keepdim=True) / 255

    def of_others() -> float:
        words = words_of(model)
        seen = vectors.seen(brightness).flatten(0, 1)
        return float(likelihood(seen, words["weights"], words["means"], words["deviations"]))

    before = of_others()
    learn_words(model, TRAIN, 7)
    assert of_others() > before + 10
    assert float(vectors.weights.sum()) == pytest.approx(1, abs=1e-5)


def test_projections_are_centred_and_places_weigh_as_a_middling_component() -> None:
    model = untrained()
    learn_words(model, TRAIN, 7)
    vectors = vectors_of(model)
    brightness = pixels_of(TRAIN.crops[::4]).mean(1, keepdim=True) / 255
    seen = vectors.seen(brightness).flatten(0, 1)
    deviations = seen.std(0)
    assert (seen.mean(0).abs() < 0.1 * deviations.max()).all()
    assert float(deviations[64:].mean()) == pytest.approx(float(deviations[:64].mean()), rel=0.1)


def test_the_same_faces_and_seed_give_the_same_words() -> None:
    first, again, other = untrained(), untrained(), untrained()
    for model, seed in ((first, 7), (again, 7), (other, 8)):
        learn_words(model, TRAIN, seed)
    assert alike(words_of(first), words_of(again))
    assert not alike(words_of(first), words_of(other))


@pytest.mark.parametrize("rows", [np.arange(1), np.zeros(5, np.int64)])
def test_one_face_is_enough(rows: np.ndarray) -> None:
    few = replace(TRAIN, rows=rows, labels=np.zeros(len(rows), np.int64))
    flat = replace(few, crops=np.full_like(TRAIN.crops, 128))
    for faces in (few, flat):
        model = untrained()
        learn_words(model, faces, 7)
        assert torch.isfinite(vectors_of(model)(torch.rand(1, 1, 112, 112))).all()


def test_words_are_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = untrained(), untrained()
    kept_words(first, TRAIN, 7, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(visual_words, "learn_words", lambda *_: pytest.fail("learnt again"))
        kept_words(again, TRAIN, 7, tmp_path)
    assert alike(words_of(first), words_of(again))


@pytest.mark.parametrize("change", ["faces", "seed"])
def test_words_of_other_faces_or_another_seed_replace_those_kept(
    tmp_path: Path, change: str
) -> None:
    first, second = untrained(), untrained()
    kept_words(first, TRAIN, 7, tmp_path)
    (before,) = tmp_path.iterdir()
    if change == "faces":
        kept_words(second, OTHERS, 7, tmp_path)
    else:
        kept_words(second, TRAIN, 8, tmp_path)
    (after,) = tmp_path.iterdir()
    assert after != before and not alike(words_of(first), words_of(second))
