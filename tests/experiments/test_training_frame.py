"""The frame of the training experiments: pairs, splits by photo, tables, settings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.training.figures_table import Figure
from experiments.training.fit import fit, last_epoch_head, with_objective
from experiments.training.nearest_centre import nearest
from experiments.training.paired_gain import pairs_gain, share_gain
from experiments.training.photos_of_each_person import split_photos
from experiments.training.read_settings import read_settings
from experiments.training.uniform_pairs import uniform_pairs
from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Train
from faceops.embedding.class_centres import class_centres
from faceops.embedding.heads.build import build_head
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.start_model import start_model
from faceops.embedding.training.training_inputs import PixelInputs
from tests.embedding.faces_for_training import coloured_people, tiny_training


def test_pairs_are_of_the_stated_kind_each_once_and_evenly_drawn() -> None:
    labels = np.array([0] * 20 + [1] * 60 + [2] * 20)
    counts = np.zeros(3)
    for seed in range(20):
        pairs = uniform_pairs(labels, 200, seed)
        same = labels[pairs.first] == labels[pairs.second]
        assert same.tolist() == pairs.same.tolist() == [True] * 200 + [False] * 200
        assert len({(a, b) for a, b in zip(pairs.first, pairs.second, strict=True)}) == 400
        assert (pairs.first < pairs.second).all()
        counts += np.bincount(labels[pairs.first[:200]], minlength=3)
    assert counts / counts.sum() == pytest.approx([190 / 2150, 1770 / 2150, 190 / 2150], abs=0.02)


def test_all_pairs_can_be_drawn_but_not_more() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert len(uniform_pairs(labels, 6, 0).same) == 12
    with pytest.raises(FaceOpsError, match="there are 6 of one class and 9 of two"):
        uniform_pairs(labels, 7, 0)


def test_each_persons_photos_are_shared_out() -> None:
    persons = np.array(["few"] * 9 + ["ten"] * 10 + ["many"] * 50)
    splits = split_photos(persons, 3)
    assert set(splits[persons == "few"]) == {""}
    for person, parts in (("ten", [2, 6, 2]), ("many", [10, 30, 10])):
        names, counts = np.unique(splits[persons == person], return_counts=True)
        assert names.tolist() == ["test", "train", "val"]
        assert counts.tolist() == parts
    assert splits.tolist() == split_photos(persons, 3).tolist()
    assert splits.tolist() != split_photos(persons, 4).tolist()


def test_the_nearest_centre_equals_a_plain_search() -> None:
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(60, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = np.arange(60) % 5
    centres = class_centres(embeddings, labels)
    for row, found in zip(embeddings, nearest(embeddings, centres), strict=True):
        means = [embeddings[labels == label].mean(axis=0) for label in range(5)]
        cosines = [row @ mean / np.linalg.norm(mean) for mean in means]
        assert found == int(np.argmax(cosines))


@pytest.mark.parametrize("objective", ["softmax", "cosface", "warm_triplet"])
def test_the_head_of_the_last_epoch_is_the_one_that_was_trained(
    objective: str, tmp_path: Path
) -> None:
    people, others = coloured_people(3, 3), coloured_people(2, 2, seed=5)
    given = tiny_training(learning_rate=1e-9, classifier_scale=8.0)  # of another classifier
    settings = with_objective(given, objective)
    start = start_model(settings, None)
    inputs = PixelInputs(people, others, Augmentation(), torch.device("cpu"))
    fitted = fit(start, lambda: inputs, people, others, settings, tmp_path, [])
    weight, bias = last_epoch_head(fitted, settings)
    torch.manual_seed(settings.seed)
    drawn = build_head(settings.classifier, 16, 3, 8.0, settings.classifier_margin)
    expected = drawn.as_linear()[0].detach().numpy()
    assert weight.shape == (3, 16) and bias.shape == (3,)
    assert np.allclose(weight, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "above", "verdict"),
    [(0.99, False, "reached"), (0.99, True, "equal, not above"), (0.98, False, "short by 0.0100")],
)
def test_an_aim_is_reached_or_short(ours: float, above: bool, verdict: str) -> None:
    figure = Figure("rate", ours, 0.9, 0.99, above)
    assert figure.verdict == verdict
    assert figure.row()[-1] == verdict


def test_a_gain_is_held_against_its_standard_error() -> None:
    draw = np.random.default_rng(0)
    person = np.arange(400)
    old = draw.random(400) < 0.8
    new = old | (draw.random(400) < 0.3)
    gain = share_gain("rate", old, new, person, 0)
    plain = (new.astype(float) - old).std() / 20
    assert gain.standard_error == pytest.approx(plain, rel=0.15)
    assert gain.finding == "better by more than its standard error"
    assert share_gain("rate", new, old, person, 0).finding.startswith("worse")
    assert pairs_gain("rate", old, old, person, person, 0).finding == "not told apart"


def test_settings_are_the_overlay_with_single_keys_over_it(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("train: {seed: 3, learning_rate: 0.5}\n")
    params = read_settings(str(overlay), ["train.seed=8", "verify.budget=0.1"], tmp_path / "out")
    assert (params.train.seed, params.train.learning_rate, params.verify.budget) == (8, 0.5, 0.1)
    with pytest.raises(UsageError, match=r"there is no parameter train\.speed"):
        read_settings(str(overlay), ["train.speed=8"], tmp_path / "out")
    with pytest.raises(UsageError, match="takes section"):
        read_settings(str(overlay), ["seed=8"], tmp_path / "out")


def test_each_objective_has_all_epochs_and_the_same_network() -> None:
    settings = Train(backbone="resnet18", warmup_epochs=20, triplet_epochs=10, classifier="cosface")
    phases = {"softmax": (30, 0), "arcface": (30, 0), "triplet": (0, 30), "warm_triplet": (18, 12)}
    for objective, epochs in phases.items():
        own = with_objective(settings, objective)
        assert (own.warmup_epochs, own.triplet_epochs) == epochs
        assert (own.backbone, own.learning_rate) == (settings.backbone, settings.learning_rate)
    assert with_objective(settings, "arcface").classifier == "arcface"
    assert with_objective(settings, "warm_triplet").classifier == "softmax"
    assert list(with_objective(settings, "triplet").miners) == ["batch_hard"]
    assert list(with_objective(settings, "warm_triplet").miners) == ["semi_hard", "batch_hard"]
