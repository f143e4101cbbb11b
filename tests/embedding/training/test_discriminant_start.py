"""Where descriptors start: people whom they have not seen are already told apart."""

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.descriptors import KEPT, description_by
from faceops.embedding.embed_crops import embed_crops, pixels_of
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.build_inputs import build_inputs
from faceops.embedding.training.checkpoint import load_checkpoint, without_prefix
from faceops.embedding.training.discriminant_start import SHRINKAGE, start_by_discriminants
from faceops.embedding.training.fisher_discriminants import fisher_discriminants
from faceops.embedding.training.outcome import NoLog, Row
from faceops.embedding.training.training_inputs import FeatureInputs, PixelInputs
from faceops.embedding.training.training_loop import train_embedder
from faceops.embedding.training.validation_tar import validation_figures
from tests.embedding.faces_for_training import coloured_people, tiny_training

CPU = torch.device("cpu")
TRAIN, VAL = coloured_people(8, 4, singles=3, noise=90), coloured_people(6, 4, seed=5, noise=90)
SETTINGS = tiny_training(
    backbone="descriptors", embedding_size=48, input_size=112, freeze=True, learning_rate=0.001
)


def untrained() -> Embedder:
    torch.manual_seed(0)
    return build_backbone("descriptors", 48, 112, "grey").eval()


@lru_cache
def description() -> torch.nn.Module:
    return description_by(untrained())


@cache
@torch.inference_mode()
def description_of(crop: bytes) -> np.ndarray:
    pixels = pixels_of(np.frombuffer(crop, np.uint8).reshape(1, 112, 112, 3))
    features: np.ndarray = description()(pixels)[0].numpy()
    return features


def described(faces: LabelledCrops) -> np.ndarray:
    """Return float32 (N, F); each face is described once for all tests."""
    return np.stack([description_of(faces.crops[row].tobytes()) for row in faces.rows])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where words and features of TRAIN and VAL are, for tests that only need them."""
    return tmp_path_factory.mktemp("kept")


def some(faces: LabelledCrops, taken: slice | np.ndarray) -> LabelledCrops:
    return replace(faces, rows=faces.rows[taken], labels=faces.labels[taken],
                   negative_only=faces.negative_only[taken])  # fmt: skip


def started(faces: LabelledCrops) -> Embedder:
    model = untrained()
    start_by_discriminants(model, described(faces), faces.labels, 7)
    return model


def test_people_are_told_apart_better_than_by_chance_projections() -> None:
    before, after = (
        validation_figures(embed_crops(model, VAL.crops), VAL.labels)
        for model in (untrained(), started(TRAIN))
    )
    assert after["val_score"] > before["val_score"]


def test_components_of_training_faces_have_mean_0_and_variance_1() -> None:
    with torch.inference_mode():
        components = started(TRAIN).trunk(pixels_of(TRAIN.crops))
    first = components[:, : len(TRAIN.rows) - 1]  # more than that have none
    assert first.mean(0).abs().max() < 1e-3
    assert torch.allclose(first.std(0), torch.ones(first.shape[1]), atol=0.02)


def test_the_projections_are_the_discriminants_of_what_the_network_sees() -> None:
    model = started(TRAIN)
    with torch.inference_mode():
        components = model.trunk(pixels_of(TRAIN.crops[TRAIN.rows])).numpy()
    for number, group in enumerate(model.get_submodule("head.discriminants.regions").children()):
        seen = components[:, number * KEPT : (number + 1) * KEPT]
        seen = seen[:, seen.any(0)]
        expected = fisher_discriminants(seen, TRAIN.labels, SHRINKAGE)[: len(group.weight)]
        found = group.weight.detach().numpy()[:, : seen.shape[1]]
        # Of length 1 in the shrunk scatter: what varies along each is how well it tells apart.
        # The directions themselves are free where several do that alike.
        assert np.allclose((seen @ found.T).var(0), (seen @ expected.T).var(0), rtol=0.01), number


def test_the_same_faces_give_the_same_start_and_others_another() -> None:
    first, again, other = (embed_crops(started(faces), VAL.crops) for faces in (TRAIN, TRAIN, VAL))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.1)


def test_people_of_one_photo_alone_leave_a_start_too() -> None:
    alone = replace(TRAIN, labels=np.arange(len(TRAIN.rows)))
    assert np.isfinite(embed_crops(started(alone), VAL.crops)).all()


def test_directions_in_which_copies_do_not_vary_stay_out() -> None:
    copies = replace(TRAIN, rows=np.arange(4).repeat(5) * 4, labels=np.arange(4).repeat(5))
    with torch.inference_mode():
        components = started(copies).trunk(pixels_of(VAL.crops))
    first = components[:, :300]
    assert (first != 0).any(0).sum() == 3  # four photos lie in three directions
    assert first.abs().max() < 20


def test_faces_are_described_once(tmp_path: Path) -> None:
    build_inputs(untrained(), TRAIN, VAL, SETTINGS, tmp_path, CPU)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    build_inputs(untrained(), TRAIN, VAL, SETTINGS, tmp_path, CPU)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_of_too_many_faces_those_of_people_with_one_photo_stay_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several = ~TRAIN.negative_only
    monkeypatch.setattr("faceops.embedding.training.discriminant_start.MAX_FACES", several.sum())
    both = (TRAIN, some(TRAIN, several))
    first, second = (embed_crops(started(faces), VAL.crops) for faces in both)
    assert np.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (some(TRAIN, slice(1)), VAL, r"train has 1 people .*, and at least 2"),
        (TRAIN, some(VAL, slice(0)), r"val has 0 people .*, and at least 2"),
    ],
)
def test_too_few_faces_are_told_of_in_one_sentence(
    train: LabelledCrops, val: LabelledCrops, message: str, tmp_path: Path
) -> None:
    model = untrained()
    inputs = build_inputs(model, train, val, SETTINGS, tmp_path, CPU)
    with pytest.raises(FaceOpsError, match=message):
        train_embedder(model, inputs, train, val, SETTINGS, tmp_path / "run", CPU)


def test_training_goes_on_from_the_start_on_cached_components(kept: Path, tmp_path: Path) -> None:
    model = untrained()
    inputs = build_inputs(model, TRAIN, VAL, SETTINGS, kept, CPU)
    assert isinstance(inputs, FeatureInputs)
    start = embed_crops(model, VAL.crops)
    trunk = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    outcome = train_embedder(model, inputs, TRAIN, VAL, SETTINGS, tmp_path / "run", CPU)
    begun = validation_figures(start, VAL.labels)
    assert abs(outcome.history[0]["val_auc"] - begun["val_auc"]) < 0.01  # half precision
    assert outcome.last["epoch"] == 3
    assert all(torch.equal(value, trunk[name]) for name, value in model.trunk.state_dict().items())


class Interrupt(NoLog):
    """Ctrl-C at the end of the first epoch."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        if row["epoch"] == 1:
            raise KeyboardInterrupt


def test_an_interrupted_run_ends_as_if_it_had_not_been(kept: Path, tmp_path: Path) -> None:
    def run(name: str, log: NoLog) -> Embedder:
        model = untrained()  # as a new process: the start is fitted again
        inputs = build_inputs(model, TRAIN, VAL, SETTINGS, kept, CPU)
        train_embedder(model, inputs, TRAIN, VAL, SETTINGS, tmp_path / name, CPU, log=log)
        return model

    whole = run("whole", NoLog())
    with pytest.raises(KeyboardInterrupt):
        run("parts", Interrupt())
    for name, value in run("parts", NoLog()).state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_without_freeze_all_projections_are_trained_on_changed_crops(
    kept: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"freeze": False, "jitter": 0.5, "triplet_epochs": 1})
    model = untrained()
    inputs = build_inputs(model, TRAIN, VAL, settings, kept, CPU)
    assert isinstance(inputs, PixelInputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    words = dict(model.named_buffers())
    train_embedder(model, inputs, TRAIN, VAL, settings, tmp_path / "run", CPU)
    load = load_checkpoint(tmp_path / "run")
    assert load is not None
    for name, value in without_prefix("trained", load[0]).items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, before[name]) == (name in words), name
