"""Training resumes bit for bit, stops early, keeps the best epoch, and detects collapse."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder, InputStage
from faceops.embedding.heads import class_centres
from faceops.embedding.miners import contrastive_loss
from faceops.embedding.training import checkpoint
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.checkpoint import (
    FILE,
    Tensors,
    delete_checkpoint,
    load_checkpoint,
    run_key,
)
from faceops.embedding.training.dataset import Epochs, FaceDataset
from faceops.embedding.training.figures import validation_figures
from faceops.embedding.training.inputs import PixelInputs, build_inputs
from faceops.embedding.training.optimiser import build_schedule
from faceops.embedding.training.training_loop import (
    Row,
    Trainer,
    TrainingLog,
    TrainingResult,
    distillation_loss,
)
from tests.embedding.faces_for_training import coloured_people, tiny_training

CPU = torch.device("cpu")
TRAIN = coloured_people(4, 3, singles=3, seed=1, noise=200)
VAL = coloured_people(4, 3, seed=2, noise=300)


class Killed(Exception):
    """Stands for the end of a process."""


class KillAt(TrainingLog):
    """Ends the run after an epoch, or after a step that is in no checkpoint yet."""

    def __init__(self, epoch: int | None = None, step: int | None = None) -> None:
        self.epoch, self.step = epoch, step

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        if row["epoch"] == self.epoch:
            raise Killed

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        if step == self.step:
            raise Killed


def small_network(dropout: float = 0.0) -> Embedder:
    """A network that is trained and compiled in little time."""
    torch.manual_seed(0)
    stage, norm = InputStage(32, "grey"), torch.nn.BatchNorm2d(8)
    trunk = torch.nn.Sequential(stage, torch.nn.Conv2d(1, 8, 4, stride=4), norm)
    layers = [torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(dropout)]
    head = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 64, 16))
    return Embedder("small", 16, trunk, head, 32, "grey")


def run(
    settings: Train,
    folder: Path,
    log: TrainingLog | None = None,
    val: FaceDataset = VAL,
    model: Embedder | None = None,
) -> tuple[Embedder, TrainingResult]:
    model = model or small_network(dropout=0.2)
    inputs = PixelInputs(TRAIN, val, CPU, Augmentation.of(settings))
    return model, Trainer(model, inputs, settings, folder, log=log).fit()


def same_weights(first: Embedder, second: Embedder) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def tensors_of(folder: Path) -> dict[str, Tensors]:
    saved = load_checkpoint(folder)
    assert saved is not None
    return saved[0]


def state_of(folder: Path) -> dict[str, Any]:
    saved = load_checkpoint(folder)
    assert saved is not None
    return saved[1]


# All that has a state, and all losses: averaged weights, erased patches, global mining.
EVERYTHING = tiny_training(
    ema_decay=0.9,
    erase=0.5,
    head_loss_weight=0.5,
    contrastive_weight=0.5,
    miners={"semi_hard": 0.5, "global": 1.0},
    triplet_epochs=4,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Embedder, TrainingResult]:
    return run(EVERYTHING, checkpoints_of(tmp_path_factory))


def checkpoints_of(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "uninterrupted_training"


def test_epochs_have_their_figures(uninterrupted: tuple[Embedder, TrainingResult]) -> None:
    _, result = uninterrupted
    assert [row["phase"] for row in result.history] == ["start", "warmup", *["triplet"] * 4]
    assert [row["miner"] for row in result.history[2:]] == ["semi_hard"] * 2 + ["global"] * 2
    assert result.stopped == "finished"
    for row in result.history[1:]:
        assert math.isfinite(row["loss"])
        assert 0 <= row["active_triplets"] <= 1
        assert 0 < row["spread"] <= 1
    assert result.best == max(result.history, key=lambda row: row["val_score"])


def assert_ends_alike(
    settings: Train, folder: Path, whole: tuple[Embedder, TrainingResult], factory: Any
) -> None:
    model, result = run(settings, folder)
    assert result == whole[1]
    assert same_weights(model, whole[0])
    ended, other = tensors_of(folder), tensors_of(checkpoints_of(factory))
    assert ended.keys() == other.keys()
    for group, tensors in ended.items():
        assert all(torch.equal(value, other[group][name]) for name, value in tensors.items())


def test_a_run_that_is_killed_after_an_epoch_ends_as_if_it_had_not_been(
    uninterrupted: tuple[Embedder, TrainingResult],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    with pytest.raises(Killed):
        run(EVERYTHING, tmp_path, KillAt(epoch=4))
    assert state_of(tmp_path)["history"][-1]["epoch"] == 4
    assert_ends_alike(EVERYTHING, tmp_path, uninterrupted, tmp_path_factory)


def test_a_run_that_is_killed_after_every_step_ends_as_if_it_had_not_been(
    uninterrupted: tuple[Embedder, TrainingResult],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    eager = EVERYTHING.model_copy(update={"checkpoint_minutes": 1e-9})  # after each step
    steps = 5 * steps_per_epoch()
    for step in range(2, steps + 1):
        with pytest.raises(Killed):
            run(eager, tmp_path, KillAt(step=step))
    assert_ends_alike(eager, tmp_path, uninterrupted, tmp_path_factory)


def steps_per_epoch() -> int:
    return len(Epochs(TRAIN, EVERYTHING).batches(1))


def test_the_rate_falls_over_all_steps_where_phases_have_more_or_fewer(tmp_path: Path) -> None:
    class Rates(TrainingLog):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.rates: list[float] = []

        def log_step(self, step: int, figures: dict[str, float]) -> None:
            self.steps.append(step)
            self.rates.append(figures["learning_rate"])

    # Four people with three photos: one batch of all twelve photos, or two to see each person.
    settings = tiny_training(warmup_epochs=2, warmup_sampler="uniform", photos_per_person=6)
    log = Rates()
    run(settings, tmp_path, log)
    steps = 2 * 1 + 2 * 2
    assert log.steps == list(range(1, steps + 1))
    optimiser = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), settings.learning_rate)
    placed = [build_schedule(optimiser, steps, step).get_last_lr()[0] for step in range(steps)]
    assert log.rates == placed


def test_people_with_one_photo_have_a_class_where_all_photos_are_drawn(tmp_path: Path) -> None:
    settings = tiny_training(warmup_sampler="uniform_all", head_loss_weight=1.0)
    _, result = run(settings, tmp_path)
    assert tensors_of(tmp_path)["head"]["weight"].shape == (4 + 3, 16)
    with pytest.raises(Killed):
        run(settings, tmp_path / "first", KillAt(epoch=1))
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    initial = Trainer(small_network(), inputs, settings, tmp_path).head.weight
    moved = tensors_of(tmp_path / "first")["head"]["weight"] - initial
    turned = moved - initial * (moved * initial).sum(1, True) / initial.pow(2).sum(1, True)
    assert (turned.norm(dim=1) > 1e-5).all()  # more than weight decay: each class was learned
    drawn = np.concatenate([step.positions for step in Epochs(TRAIN, settings).batches(1)])
    assert sorted(drawn.tolist()) == list(range(len(TRAIN.labels)))
    assert all(math.isfinite(row["loss"]) for row in result.history[1:])


def test_the_contrastive_loss_is_added_in_both_phases(tmp_path: Path) -> None:
    settings = tiny_training(warmup_epochs=1, triplet_epochs=1)
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    for epoch in (1, 2):
        losses = []
        for weight in (0.0, 2.0):
            changed = settings.model_copy(update={"contrastive_weight": weight})
            trainer = Trainer(small_network(), inputs, changed, tmp_path)
            trainer.epoch = epoch
            batch = trainer.mine_and_draw()[0]
            losses.append(trainer.train_step(batch, trainer.load_share(batch))["loss"])
        embeddings = inputs.embed(small_network().train(), trainer.load_share(batch), seed=0)
        expected = contrastive_loss(embeddings, torch.from_numpy(batch.labels), 0.15)
        assert losses[1] - losses[0] == pytest.approx(2 * expected.item(), rel=1e-4)


def test_ctrl_c_saves_the_current_step(
    uninterrupted: tuple[Embedder, TrainingResult],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    class CtrlC(TrainingLog):
        def log_step(self, step: int, figures: dict[str, float]) -> None:
            if step == 2 + steps_per_epoch():
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(EVERYTHING, tmp_path, CtrlC())
    state = state_of(tmp_path)
    assert (state["history"][-1]["epoch"], state["step"]) == (1, 2)
    assert_ends_alike(EVERYTHING, tmp_path, uninterrupted, tmp_path_factory)


def test_averaged_weights_are_what_is_scored_and_kept(tmp_path: Path) -> None:
    settings = tiny_training(warmup_epochs=2, triplet_epochs=0, ema_decay=0.5)
    plain, unaveraged = run(settings.model_copy(update={"ema_decay": 0.0}), tmp_path / "plain")
    _, result = run(settings, tmp_path / "averaged")
    saved = tensors_of(tmp_path / "averaged")
    assert result.history[-1]["val_score"] != unaveraged.history[-1]["val_score"]
    averaged = {name.removeprefix("module."): x for name, x in saved["average"].items()}
    averaged.pop("n_averaged")
    for weights, expected in ((saved["trained"], unaveraged), (averaged, result)):
        plain.load_state_dict(weights)
        inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
        figures = validation_figures(inputs.embed_plain(plain, "val"), VAL.labels)
        assert figures["val_score"] == expected.history[-1]["val_score"]


IMPATIENT = tiny_training(min_delta=1.0, patience=1, warmup_epochs=3)


def test_the_start_is_kept_when_nothing_beats_it(tmp_path: Path) -> None:
    settings = tiny_training(triplet_epochs=1)
    easy = coloured_people(3, 2, noise=0)  # photos of one person are the same: nothing to gain
    model, result = run(settings, tmp_path, val=easy)
    assert [row["val_score"] for row in result.history[:1]] == [1]
    assert result.best_epoch == 0
    assert same_weights(model, small_network())


def test_a_warm_up_that_stops_early_is_followed_by_triplets(tmp_path: Path) -> None:
    model, result = run(IMPATIENT, tmp_path / "whole")
    assert [(row["epoch"], row["phase"]) for row in result.history] == [
        (0, "start"), (1, "warmup"), (4, "triplet"),
    ]  # fmt: skip
    assert result.stopped == "patience"
    assert result.best == max(result.history, key=lambda row: row["val_score"])
    with pytest.raises(Killed):
        run(IMPATIENT, tmp_path / "killed", KillAt(epoch=1))  # the checkpoint holds the patience
    resumed, again = run(IMPATIENT, tmp_path / "killed")
    assert again == result
    assert same_weights(resumed, model)
    eager = IMPATIENT.model_copy(update={"checkpoint_minutes": 1e-9})
    second_of_triplets = 3 * steps_per_epoch() + 2
    with pytest.raises(Killed):  # within the epoch that it jumped to
        run(eager, tmp_path / "jumped", KillAt(step=second_of_triplets))
    resumed, again = run(eager, tmp_path / "jumped")
    assert again == result
    assert same_weights(resumed, model)


def test_resuming_works_where_phases_have_epochs_of_different_lengths(tmp_path: Path) -> None:
    # One step an epoch of photos, two an epoch of people; patience jumps over two of the former.
    uneven = IMPATIENT.model_copy(
        update={"warmup_sampler": "uniform", "photos_per_person": 6, "checkpoint_minutes": 1e-9}
    )
    model, result = run(uneven, tmp_path / "whole")
    assert [row["epoch"] for row in result.history] == [0, 1, 4]
    with pytest.raises(Killed):
        run(uneven, tmp_path / "killed", KillAt(step=3 + 2))  # the second step of triplets
    resumed, again = run(uneven, tmp_path / "killed")
    assert again == result
    assert same_weights(resumed, model)


def test_a_pretrained_model_starts_its_classes_at_the_mean_embeddings(tmp_path: Path) -> None:
    settings = tiny_training(warmup_sampler="uniform_all")
    model = small_network()
    model.backbone = "pretrained"
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    trainer = Trainer(model, inputs, settings, tmp_path)
    trainer.init_classes()
    centres = class_centres(inputs.embed_plain(model, "train"), TRAIN.labels)
    assert trainer.head.weight.shape == (4 + 3, 16)
    assert np.allclose(trainer.head.weight.detach().numpy(), centres)


def test_distillation_learns_to_see_through_degradation_and_resumes(tmp_path: Path) -> None:
    train, val = coloured_people(4, 3, singles=12, seed=1), coloured_people(6, 3, seed=2)
    settings = tiny_training(
        warmup_loss="distillation", warmup_sampler="uniform_all", warmup_epochs=8,
        triplet_epochs=0, patience=8, learning_rate=0.0005, frozen_units=1, jitter=0.0,
        brightness=0.0, exposure=1.0, grey=0.3, cover=0.3, resolution=0.5, unaltered=0.3,
    )  # fmt: skip
    inputs = PixelInputs(train, val, CPU, Augmentation.of(settings))

    def trained(folder: Path, log: TrainingLog | None = None) -> tuple[Embedder, TrainingResult]:
        model = small_network()
        return model, Trainer(model, inputs, settings, folder, log=log).fit()

    start, (whole, result) = small_network().eval(), trained(tmp_path / "whole")
    losses = [row["loss"] for row in result.history[1:]]
    assert np.mean(losses[-2:]) < 0.9 * np.mean(losses[:2])
    wanted = inputs.embed_plain(start, "val")  # people of whom the run has seen nothing
    before, after, unaltered = (
        float((wanted * inputs.embed_plain(model, "val", seed=seed)).sum(axis=1).mean())
        for model, seed in ((start, 5), (whole, 5), (whole, None))
    )
    assert after > before + 0.03
    assert unaltered > 0.9

    with pytest.raises(Killed):
        trained(tmp_path / "killed", KillAt(epoch=2))
    again, continued = trained(tmp_path / "killed")
    assert continued == result
    assert same_weights(again, whole)


def test_distillation_does_not_reward_the_mean_of_all_faces() -> None:
    draw = torch.Generator().manual_seed(0)
    common, others, noise = torch.eye(64)[0], torch.ones(64), torch.randn(24, 64, generator=draw)
    others[0] = 0  # all that tells people apart
    own = F.normalize(torch.randn(24, 64, generator=draw) * others, dim=1)

    def embedded(like_all: float, like_own: float) -> torch.Tensor:
        lost = F.normalize(noise * others, dim=1) * (1 - like_own)
        rest = F.normalize(like_own * own + lost, dim=1)
        return like_all * common + (1 - like_all**2) ** 0.5 * rest

    targets, degraded = embedded(0.3, 1), embedded(0.3, 0.4)
    mean, better = embedded(0.6, 0.4), embedded(0.3, 0.5)
    assert (mean * targets).sum() > (degraded * targets).sum()  # nearer to the own targets
    order = [distillation_loss(x, targets) for x in (targets, better, degraded, mean)]
    assert order == sorted(order)
    assert float(order[0]) == pytest.approx(0, abs=1e-5)


def test_frozen_units_keep_their_weights_and_statistics(tmp_path: Path) -> None:
    start = small_network()
    run(tiny_training(frozen_units=3), tmp_path, model=small_network())
    ended = tensors_of(tmp_path)["trained"]
    kept = {name: torch.equal(value, ended[name]) for name, value in start.state_dict().items()}
    assert all(same == name.startswith("trunk") for name, same in kept.items())


def test_without_triplets_an_impatient_warm_up_ends_the_run(tmp_path: Path) -> None:
    _, result = run(IMPATIENT.model_copy(update={"triplet_epochs": 0}), tmp_path)
    assert [row["phase"] for row in result.history] == ["start", "warmup"]
    assert result.stopped == "patience"


def test_a_time_limit_ends_the_run(tmp_path: Path) -> None:
    _, result = run(tiny_training(max_minutes=1e-6), tmp_path)
    assert result.stopped == "max_minutes"
    assert len(result.history) == 1


@pytest.mark.parametrize("miner", ["semi_hard", "batch_hard"])
def test_collapse_stops_the_run_with_advice(tmp_path: Path, miner: str) -> None:
    settings = tiny_training(miners={miner: 1.0}, warmup_epochs=0, triplet_epochs=1)
    model = small_network()
    final = list(model.head.children())[-1]
    torch.nn.init.constant_(final.get_parameter("bias"), 1000.0)  # all embeddings point one way
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    with pytest.raises(FaceOpsError, match=r"collapsed to one point .* lower train.learning_rate"):
        Trainer(model, inputs, settings, tmp_path).fit()


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_update(tmp_path: Path) -> None:
    class Blinding(TrainingLog):
        def log_step(self, step: int, figures: dict[str, float]) -> None:
            if step == 1:
                with torch.no_grad():  # finite, but its square is not
                    next(model.trunk.parameters()).fill_(1e38)

    settings = tiny_training(checkpoint_minutes=1e-9)
    model = small_network()
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    with pytest.raises(FaceOpsError, match=r"gradient of step 2 in epoch 1 is not finite"):
        Trainer(model, inputs, settings, tmp_path, log=Blinding()).fit()


@pytest.mark.slow
def test_a_compiled_network_in_bfloat16_learns_too(tmp_path: Path) -> None:
    settings = tiny_training(precision="bfloat16", compile=True, triplet_epochs=1)
    model, result = run(settings, tmp_path, model=small_network())
    assert [row["epoch"] for row in result.history] == [0, 1, 2]
    assert all(math.isfinite(row["loss"]) for row in result.history[1:])
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    _, plain = run(tiny_training(triplet_epochs=1), tmp_path / "plain", model=small_network())
    assert result.history[1]["loss"] == pytest.approx(plain.history[1]["loss"], rel=0.05)


def test_one_person_is_too_few(tmp_path: Path) -> None:
    lonely = coloured_people(1, 3, singles=4)
    settings = tiny_training()
    with pytest.raises(FaceOpsError, match=r"the split train has 1 people"):
        build_inputs(small_network(), lonely, VAL, settings, tmp_path, CPU)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(FaceOpsError, match=r"last.safetensors is damaged; delete it"):
        run(tiny_training(), tmp_path)
    delete_checkpoint(tmp_path)
    assert not tmp_path.exists()


def test_what_changes_the_result_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    base = run_key(tiny_training(), "data")
    assert run_key(tiny_training(max_minutes=5, checkpoint_minutes=1), "data") == base
    keys = {base, run_key(tiny_training(learning_rate=0.1), "data"), run_key(tiny_training(), "x")}
    monkeypatch.setattr(checkpoint, "TRAINING_VERSION", 99)
    keys.add(run_key(tiny_training(), "data"))
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.add(run_key(tiny_training(), "data"))
    assert len(keys) == 5


def test_a_gain_below_min_delta_is_kept_but_does_not_reset_patience(tmp_path: Path) -> None:
    model = small_network()
    inputs = PixelInputs(TRAIN, VAL, CPU, Augmentation())
    trainer = Trainer(model, inputs, tiny_training(min_delta=0.01), tmp_path)
    weight = model.head[3].get_parameter("bias")
    seen = []
    for epoch, score in enumerate([0.5, 0.505, 0.503, 0.52, 0.529]):
        torch.nn.init.constant_(weight, epoch)
        trainer.record_epoch({"epoch": epoch, "val_score": score})
        kept = trainer.best_weights["head.3.bias"][0].item()
        seen.append((trainer.best_epoch, trainer.stale_epochs, kept))
    assert seen == [(0, 0, 0), (1, 1, 1), (1, 2, 1), (3, 0, 3), (4, 1, 4)]


def test_a_longer_time_limit_continues_the_run(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tiny_training(), tmp_path, KillAt(epoch=1))
    _, stopped = run(tiny_training(max_minutes=1e-6), tmp_path)
    assert (stopped.stopped, len(stopped.history)) == ("max_minutes", 2)
    _, ended = run(tiny_training(max_minutes=60), tmp_path)
    assert (ended.stopped, len(ended.history)) == ("finished", 4)
