"""Training improves, resumes bit for bit, stops when told, and says when it collapsed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.checkpoint import (
    FILE,
    delete_checkpoint,
    load_checkpoint,
    run_key,
    sources_sha256,
)
from faceops.embedding.training.start_model import start_model
from faceops.embedding.training.training_inputs import PixelInputs
from faceops.embedding.training.training_loop import Outcome, train_embedder
from faceops.errors import FaceOpsError
from tests.embedding.faces_for_training import coloured_people, tiny_training

CHANGES = Augmentation(jitter=0.2, brightness=0.2)
CPU = torch.device("cpu")
TRAIN = coloured_people(4, 3, singles=3, seed=1)
VAL = coloured_people(3, 3, seed=2)


class Killed(Exception):
    """Stands for the end of a process."""


def run(settings: Train, folder: Path, kill_after: int | None = None) -> tuple[Embedder, Outcome]:
    def on_epoch(row: dict[str, Any], images_per_second: float) -> None:
        if row["epoch"] == kill_after:
            raise Killed

    model = start_model(settings, None)
    inputs = PixelInputs(TRAIN, VAL, CHANGES, CPU)
    outcome = train_embedder(model, inputs, TRAIN, VAL, settings, folder, CPU, on_epoch)
    return model, outcome


def same_weights(first: Embedder, second: Embedder) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, Outcome]:
    return run(tiny_training(), checkpoints_of(tmp_path_factory))


def checkpoints_of(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "uninterrupted_training"


def test_epochs_have_their_figures(uninterrupted: tuple[Embedder, Outcome]) -> None:
    _, outcome = uninterrupted
    assert [row["phase"] for row in outcome.history] == ["start", "warmup", "triplet", "triplet"]
    assert outcome.stopped == "finished"
    for row in outcome.history[1:]:
        assert math.isfinite(row["loss"])
        assert 0 <= row["active_triplets"] <= 1
        assert 0 < row["spread"] <= 1
    assert outcome.best == max(outcome.history, key=lambda row: row["val_score"])


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_ends_as_if_it_had_not_been(
    uninterrupted: tuple[Embedder, Outcome],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    epoch: int,
) -> None:
    settings = tiny_training()
    with pytest.raises(Killed):
        run(settings, tmp_path, kill_after=epoch)
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved[1]["history"][-1]["epoch"] == epoch
    model, outcome = run(settings, tmp_path)
    assert outcome == uninterrupted[1]
    assert same_weights(model, uninterrupted[0])
    ended, whole = load_checkpoint(tmp_path), load_checkpoint(checkpoints_of(tmp_path_factory))
    assert ended is not None
    assert whole is not None
    assert ended[0].keys() == whole[0].keys()
    assert all(torch.equal(value, whole[0][name]) for name, value in ended[0].items())


IMPATIENT = tiny_training(tolerance=1.0, patience=1, warmup_epochs=3)


def test_the_start_is_kept_when_nothing_beats_it(tmp_path: Path) -> None:
    settings = tiny_training(triplet_epochs=1)
    model = start_model(settings, None)
    easy = coloured_people(3, 2, noise=0)  # photos of one person are the same: nothing to gain
    inputs = PixelInputs(TRAIN, easy, CHANGES, CPU)
    outcome = train_embedder(model, inputs, TRAIN, easy, settings, tmp_path, CPU)
    assert [row["val_score"] for row in outcome.history[:1]] == [1]
    assert outcome.best_epoch == 0
    assert same_weights(model, start_model(settings, None))


def test_an_impatient_warm_up_gives_way_to_triplets(tmp_path: Path) -> None:
    model, outcome = run(IMPATIENT, tmp_path / "whole")
    assert [(row["epoch"], row["phase"]) for row in outcome.history] == [
        (0, "start"), (1, "warmup"), (4, "triplet"),
    ]  # fmt: skip
    assert outcome.stopped == "patience"
    assert outcome.best == max(outcome.history, key=lambda row: row["val_score"])
    with pytest.raises(Killed):
        run(IMPATIENT, tmp_path / "killed", kill_after=1)  # what it jumps to is in the checkpoint
    resumed, again = run(IMPATIENT, tmp_path / "killed")
    assert again == outcome
    assert same_weights(resumed, model)


def test_without_triplets_an_impatient_warm_up_ends_the_run(tmp_path: Path) -> None:
    _, outcome = run(IMPATIENT.model_copy(update={"triplet_epochs": 0}), tmp_path)
    assert [row["phase"] for row in outcome.history] == ["start", "warmup"]
    assert outcome.stopped == "patience"


def test_a_gain_below_the_tolerance_still_makes_a_new_best(tmp_path: Path) -> None:
    _, outcome = run(tiny_training(tolerance=1.0, warmup_epochs=2), tmp_path)
    scores = [row["val_score"] for row in outcome.history]
    assert max(scores) > scores[0]
    assert outcome.best["val_score"] == max(scores)


def test_a_time_limit_ends_the_run_and_says_so(tmp_path: Path) -> None:
    _, outcome = run(tiny_training(max_minutes=1e-6), tmp_path)
    assert outcome.stopped == "max_minutes"
    assert len(outcome.history) == 1


@pytest.mark.parametrize("miner", ["semi_hard", "batch_hard"])
def test_collapse_stops_the_run_with_advice(tmp_path: Path, miner: str) -> None:
    settings = tiny_training(miner=miner, warmup_epochs=0, triplet_epochs=1)
    model = start_model(settings, None)
    final = list(model.head.children())[-1]
    torch.nn.init.constant_(final.get_parameter("bias"), 1000.0)  # all embeddings point one way
    inputs = PixelInputs(TRAIN, VAL, Augmentation(), CPU)
    with pytest.raises(FaceOpsError, match=r"collapsed to one point .* lower train.learning_rate"):
        train_embedder(model, inputs, TRAIN, VAL, settings, tmp_path, CPU)


def test_one_person_is_too_few(tmp_path: Path) -> None:
    lonely = coloured_people(1, 3, singles=4)
    settings = tiny_training()
    inputs = PixelInputs(lonely, VAL, Augmentation(), CPU)
    with pytest.raises(FaceOpsError, match=r"the split train has 1 people"):
        train_embedder(start_model(settings, None), inputs, lonely, VAL, settings, tmp_path, CPU)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(FaceOpsError, match=r"last.safetensors is damaged; delete it"):
        run(tiny_training(), tmp_path)
    delete_checkpoint(tmp_path)
    assert not tmp_path.exists()


def test_a_changed_setting_or_other_data_is_another_run() -> None:
    base = run_key(tiny_training(), "data")
    assert run_key(tiny_training(), "data") == base
    assert run_key(tiny_training(max_minutes=5), "data") == base
    assert run_key(tiny_training(learning_rate=0.1), "data") != base
    assert run_key(tiny_training(), "other data") != base


def test_changed_code_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backbones").mkdir()
    (tmp_path / "backbones/net.py").write_text("WIDTH = 1\n")
    before = sources_sha256(tmp_path)
    assert sources_sha256(tmp_path) == before
    (tmp_path / "backbones/net.py").write_text("WIDTH = 2\n")
    assert sources_sha256(tmp_path) != before
    base = run_key(tiny_training(), "data")
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert run_key(tiny_training(), "data") != base


def test_a_run_that_its_time_limit_ended_goes_on_under_a_longer_one(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tiny_training(), tmp_path, kill_after=1)
    _, stopped = run(tiny_training(max_minutes=1e-6), tmp_path)
    assert (stopped.stopped, len(stopped.history)) == ("max_minutes", 2)
    _, ended = run(tiny_training(max_minutes=60), tmp_path)
    assert (ended.stopped, len(ended.history)) == ("finished", 4)
