"""Words are what patches of training faces look like, and are learnt once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.input_stage import InputStage, brightness_of
from faceops.embedding.descriptors.fisher_vectors import PROJECTED, WORDS, FisherVectors
from faceops.embedding.embed_crops import pixels_of
from faceops.embedding.embedder import Embedder
from faceops.embedding.training import visual_words
from faceops.embedding.training.visual_words import drawn_patches, kept_words, learn_words
from tests.embedding.descriptors.test_fisher_vectors import likelihood
from tests.embedding.faces_for_training import coloured_people

LUMA = torch.tensor([0.299, 0.587, 0.114])
TRAIN, OTHERS = coloured_people(8, 4, noise=90), coloured_people(6, 4, seed=5, noise=90)


def untrained() -> Embedder:
    torch.manual_seed(0)
    return build_backbone("descriptors", 48, 112, "grey").eval()


def vectors_of(model: Embedder) -> FisherVectors:
    return next(part for part in model.modules() if isinstance(part, FisherVectors))


def words_of(model: Embedder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vectors_of(model).state_dict().items()}


def brightness(crops: np.ndarray) -> torch.Tensor:
    return (pixels_of(crops).permute(0, 2, 3, 1) @ LUMA)[:, None] / 255


def alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_patches_of_faces_not_seen_are_likelier_by_learnt_words() -> None:
    model = untrained()
    vectors = vectors_of(model)

    def of_others() -> float:
        words = words_of(model)
        seen = vectors.seen(brightness(OTHERS.crops[:2])).flatten(0, 1)
        return float(likelihood(seen, words["weights"], words["means"], words["deviations"]))

    before = of_others()
    learn_words(model, TRAIN)
    assert of_others() > before + 10
    assert float(vectors.weights.sum()) == pytest.approx(1, abs=1e-5)


def test_projections_are_centred_and_places_weigh_as_a_middling_component() -> None:
    model = untrained()
    learn_words(model, TRAIN)
    vectors = vectors_of(model)
    seen = vectors.seen(brightness(TRAIN.crops[::4])).flatten(0, 1)
    deviations = seen.std(0)
    assert (seen.mean(0).abs() < 0.1 * deviations.max()).all()
    assert float(deviations[64:].mean()) == pytest.approx(float(deviations[:64].mean()), rel=0.1)


def test_words_are_kept_from_the_top_of_a_face_to_its_chin() -> None:
    model = untrained()
    learn_words(model, TRAIN)
    down = vectors_of(model).means[:, PROJECTED]
    assert torch.equal(down, down.sort().values) and down[0] < 0 < down[-1]


def test_each_word_keeps_its_own_mean_deviation_and_weight() -> None:
    model = untrained()
    learn_words(model, TRAIN)
    words = words_of(model)
    seen = vectors_of(model).seen(brightness(TRAIN.crops[::2])).flatten(0, 1)[::20]

    def likely(deviations: torch.Tensor) -> float:
        return float(likelihood(seen, words["weights"], words["means"], deviations))

    torch.manual_seed(0)
    for _ in range(5):
        exchanged = words["deviations"][torch.randperm(WORDS)]
        assert likely(exchanged) < likely(words["deviations"])
    # A word weighs what it has of the patches.
    density = torch.distributions.Normal(words["means"], words["deviations"])
    each = torch.stack([density.log_prob(patch).sum(1) for patch in seen])
    shares = (each + words["weights"].log()).softmax(1).mean(0)
    assert torch.corrcoef(torch.stack([shares, words["weights"]]))[0, 1] > 0.8


def test_the_same_faces_give_the_same_words_and_others_others() -> None:
    first, again, other = untrained(), untrained(), untrained()
    for model, faces in ((first, TRAIN), (again, TRAIN), (other, OTHERS)):
        learn_words(model, faces)
    assert alike(words_of(first), words_of(again))
    assert not alike(words_of(first), words_of(other))


def test_of_every_second_face_the_mirror_image_is_taken() -> None:
    # Two that mirror each other: the second is turned back, whichever of them it is.
    crops = np.stack([TRAIN.crops[0], TRAIN.crops[0, :, ::-1]])
    faces = replace(TRAIN, crops=crops, rows=np.arange(2), labels=np.zeros(2, np.int64))
    model = untrained()
    described, places = drawn_patches(model, faces, np.random.default_rng(0))
    assert described.shape == (1280, 128) and places.shape == (1280, 2)
    vectors = vectors_of(model)
    known = vectors.patches(brightness(crops)).numpy()

    def all_of(number: int) -> bool:
        grid = vectors.patches.places.numpy()
        same_place = (np.abs(places[::9, None] - grid).max(2) < 1e-6)[:, :, None]
        away = np.abs(described[::9, None] - known[number]).max(2, keepdims=True)
        return bool((np.where(same_place, away, np.inf).min(1) < 1e-4).all())

    assert all_of(0) != all_of(1)


def test_no_more_faces_than_needed_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visual_words, "_FACES", 12)
    described, _ = drawn_patches(untrained(), TRAIN, np.random.default_rng(0))
    assert len(described) == 12 * 120


@pytest.mark.parametrize("rows", [np.arange(1), np.zeros(5, np.int64)])
def test_one_face_is_enough(rows: np.ndarray) -> None:
    few = replace(TRAIN, rows=rows, labels=np.zeros(len(rows), np.int64))
    flat = replace(few, crops=np.full_like(TRAIN.crops, 128))
    for faces in (few, flat):
        model = untrained()
        learn_words(model, faces)
        assert torch.isfinite(vectors_of(model)(torch.rand(1, 1, 112, 112))).all()


def test_words_are_learnt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = untrained(), untrained()
    # Words that were drawn otherwise, as by another number of threads: they are replaced.
    vectors_of(again).projection.mul_(1 + 1e-6)
    kept_words(first, TRAIN, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(visual_words, "learn_words", lambda *_: pytest.fail("learnt again"))
        kept_words(again, TRAIN, tmp_path)
    assert alike(words_of(first), words_of(again))


def test_words_are_kept_by_all_code_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    monkeypatch.setattr(
        visual_words, "faces_and_code", lambda _, modules: seen.update(modules) or "key"
    )
    model = untrained()
    kept_words(model, TRAIN, tmp_path)
    makers = [pixels_of, learn_words, InputStage, brightness_of]
    makers += [type(part) for part in vectors_of(model).modules()]
    ours = {maker.__module__ for maker in makers if maker.__module__.startswith("faceops.")}
    assert len(ours) > 4 and ours <= seen


def test_words_of_other_faces_replace_those_kept(tmp_path: Path) -> None:
    first, second = untrained(), untrained()
    kept_words(first, TRAIN, tmp_path)
    (before,) = tmp_path.iterdir()
    kept_words(second, OTHERS, tmp_path)
    (after,) = tmp_path.iterdir()
    assert after != before and not alike(words_of(first), words_of(second))
