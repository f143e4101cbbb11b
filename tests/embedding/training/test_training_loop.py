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
from faceops.embedding.embedder import Embedder
from faceops.embedding.losses import class_centres, contrastive_loss, distillation_loss
from faceops.embedding.training import state
from faceops.embedding.training.batches import Epochs
from faceops.embedding.training.figures import validation_figures
from faceops.embedding.training.inputs import FaceDataset, build_inputs
from faceops.embedding.training.state import (
    FILE,
    Tensors,
    build_schedule,
    delete_checkpoint,
    load_checkpoint,
    run_key,
)
from faceops.embedding.training.training_loop import Row, Trainer, TrainingLog, TrainingResult
from tests.embedding.faces_for_training import (
    coloured_people,
    pixel_inputs,
    small_network,
    tiny_training,
)

TRAIN = coloured_people(4, 3, singles=3, seed=1, noise=200)
VAL = coloured_people(4, 3, seed=2, noise=300)
PLAIN = tiny_training(flip=False, jitter=0, brightness=0)
Trained = tuple[Embedder, TrainingResult]


class Killed(Exception):
    """Stands for the end of a process."""


class KillAt(TrainingLog):
    """Ends the run after an epoch, or after a step that is in no checkpoint yet; or by Ctrl-C."""

    def __init__(self, epoch: int = -1, step: int = -1, ctrl_c: bool = False) -> None:
        self.epoch, self.step, self.ctrl_c = epoch, step, ctrl_c

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        if row["epoch"] == self.epoch:
            raise Killed

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        if step == self.step and self.ctrl_c:
            os.kill(os.getpid(), signal.SIGINT)
        elif step == self.step:
            raise Killed


def network(dropout: float = 0.0) -> Embedder:
    return small_network(torch.nn.BatchNorm2d(8), 8, dropout)


def trainer(settings: Train, folder: Path, model: Embedder | None = None, **more: Any) -> Trainer:
    inputs = pixel_inputs(TRAIN, more.pop("val", VAL), settings)
    return Trainer(model or network(), inputs, settings, folder, **more)


def run(
    settings: Train, folder: Path, log: TrainingLog | None = None, val: FaceDataset = VAL
) -> Trained:
    model = network(dropout=0.2)
    return model, trainer(settings, folder, model, log=log, val=val).fit()


def same_weights(first: Embedder, second: Embedder) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def assert_resumes(settings: Train, folder: Path, whole: Trained, *ends: TrainingLog) -> None:
    """Each run is ended, the next continues it, and the last ends as the whole one did."""
    for end in ends:
        with pytest.raises((Killed, KeyboardInterrupt)):
            run(settings, folder, end)
    model, result = run(settings, folder)
    assert result == whole[1]
    assert same_weights(model, whole[0])


def saved(folder: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    loaded = load_checkpoint(folder)
    assert loaded is not None
    return loaded


# All that has a state, and all losses: averaged, interpolated weights, erased patches, mining.
EVERYTHING = tiny_training(
    ema_decay=0.9,
    start_share=0.3,
    erase=0.5,
    head_loss_weight=0.5,
    contrastive_weight=0.5,
    miners={"semi_hard": 0.5, "global": 1.0},
    triplet_epochs=4,
)
STEPS = len(Epochs(TRAIN, EVERYTHING).batches(1))  # of an epoch
AFTER_EACH_STEP = {"checkpoint_minutes": 1e-9}
IMPATIENT = tiny_training(min_delta=1.0, patience=1, warmup_epochs=3)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, run(EVERYTHING, folder)


def test_epochs_have_their_figures(uninterrupted):
    _, (_, result) = uninterrupted
    assert [row["phase"] for row in result.history] == ["start", "warmup", *["triplet"] * 4]
    assert [row["miner"] for row in result.history[2:]] == ["semi_hard"] * 2 + ["global"] * 2
    assert result.stopped == "finished"
    for row in result.history[1:]:
        assert math.isfinite(row["loss"])
        assert 0 <= row["active_triplets"] <= 1 and 0 < row["spread"] <= 1
    assert result.best == max(result.history, key=lambda row: row["val_score"])


@pytest.mark.parametrize(
    ("minutes", "ends", "place"),
    [
        ({}, [KillAt(epoch=4)], (4, 0)),
        ({}, [KillAt(step=2 + STEPS, ctrl_c=True)], (1, 2)),
        (AFTER_EACH_STEP, [KillAt(step=step) for step in range(2, 5 * STEPS + 1)], None),
    ],
    ids=["epoch", "ctrl-c", "each step"],
)
def test_a_run_that_is_interrupted_ends_as_if_it_had_not_been(
    uninterrupted, tmp_path, minutes, ends, place
):
    settings = EVERYTHING.model_copy(update=minutes)
    if place:
        with pytest.raises((Killed, KeyboardInterrupt)):
            run(settings, tmp_path, ends[0])
        state = saved(tmp_path)[1]
        assert (state["history"][-1]["epoch"], state["step"]) == place
    folder, whole = uninterrupted
    assert_resumes(settings, tmp_path, whole, *ends[1 if place else 0 :])
    ended, other = saved(tmp_path)[0], saved(folder)[0]
    assert ended.keys() == other.keys()
    for group, tensors in ended.items():
        assert all(torch.equal(value, other[group][name]) for name, value in tensors.items())


def test_the_rate_falls_over_all_steps_where_phases_have_more_or_fewer(tmp_path):
    class Rates(TrainingLog):
        def __init__(self) -> None:
            self.seen: list[tuple[int, float]] = []

        def log_step(self, step: int, figures: dict[str, float]) -> None:
            self.seen.append((step, figures["learning_rate"]))

    # Four people with three photos: one batch of all twelve photos, or two to see each person.
    settings = tiny_training(warmup_epochs=2, warmup_sampler="uniform", photos_per_person=6)
    log = Rates()
    run(settings, tmp_path, log)
    optimiser = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), settings.learning_rate)
    steps = 2 * 1 + 2 * 2
    rates = [build_schedule(optimiser, steps, step).get_last_lr()[0] for step in range(steps)]
    assert log.seen == list(enumerate(rates, 1))


def test_people_with_one_photo_have_a_class_where_all_photos_are_drawn(tmp_path):
    settings = tiny_training(warmup_sampler="uniform_all", head_loss_weight=1.0)
    initial = trainer(settings, tmp_path).head.weight
    with pytest.raises(Killed):
        run(settings, tmp_path, KillAt(epoch=1))
    moved = saved(tmp_path)[0]["head"]["weight"] - initial
    assert moved.shape == (4 + 3, 16)
    turned = moved - initial * (moved * initial).sum(1, True) / initial.pow(2).sum(1, True)
    assert (turned.norm(dim=1) > 1e-5).all()  # more than weight decay: each class was learned
    drawn = np.concatenate([step.positions for step in Epochs(TRAIN, settings).batches(1)])
    assert sorted(drawn.tolist()) == list(range(len(TRAIN.labels)))
    _, result = run(settings, tmp_path)
    assert all(math.isfinite(row["loss"]) for row in result.history[1:])


def test_the_contrastive_loss_is_added_in_both_phases(tmp_path):
    for epoch in (1, 2):
        losses = []
        for weight in (0.0, 2.0):
            changed = trainer(PLAIN.model_copy(update={"contrastive_weight": weight}), tmp_path)
            changed.epoch = epoch
            batch = changed.mine_and_draw()[0]
            losses.append(changed.train_step(batch, changed.load_share(batch))["loss"])
        embeddings = changed.inputs.embed(network().train(), changed.load_share(batch), seed=0)
        expected = contrastive_loss(embeddings, torch.from_numpy(batch.labels), 0.15)
        assert losses[1] - losses[0] == pytest.approx(2 * expected.item(), rel=1e-4)


@pytest.mark.parametrize(("decay", "share"), [(0.5, 0.0), (0.5, 0.3), (0.0, 0.3)])
def test_averaged_and_interpolated_weights_are_what_is_scored_and_kept(decay, share, tmp_path):
    settings = tiny_training(warmup_epochs=2, triplet_epochs=0, ema_decay=decay, start_share=share)
    without = settings.model_copy(update={"ema_decay": 0.0, "start_share": 0.0})
    plain, unaveraged = run(without, tmp_path / "plain")
    _, result = run(settings, tmp_path / "averaged")
    tensors = saved(tmp_path / "averaged")[0]
    assert result.history[-1]["val_score"] != unaveraged.history[-1]["val_score"]
    own, prefix = tensors["average" if decay else "trained"], "module." * (decay > 0)
    start = network().state_dict().items()
    averaged = {name: own[prefix + name].float().lerp(x.float(), share) for name, x in start}
    for weights, expected in ((tensors["trained"], unaveraged), (averaged, result)):
        plain.load_state_dict(weights)
        embeddings = pixel_inputs(TRAIN, VAL, PLAIN).embed_plain(plain, "val")
        score = validation_figures(embeddings, VAL.labels)["val_score"]
        assert score == expected.history[-1]["val_score"]


def test_the_start_is_kept_when_nothing_beats_it(tmp_path):
    easy = coloured_people(3, 2, noise=0)  # photos of one person are the same: nothing to gain
    model, result = run(tiny_training(triplet_epochs=1), tmp_path, val=easy)
    assert (result.history[0]["val_score"], result.best_epoch) == (1, 0)
    assert same_weights(model, network())


# Of the uneven: one step an epoch of photos, two an epoch of people.
@pytest.mark.parametrize(
    ("settings", "step"),
    [
        (IMPATIENT, 3 * STEPS + 2),
        (IMPATIENT.model_copy(update={"warmup_sampler": "uniform", "photos_per_person": 6}), 3 + 2),
    ],
    ids=["even", "uneven"],
)
def test_a_warm_up_that_stops_early_is_followed_by_triplets_also_after_a_kill(
    settings, step, tmp_path
):
    whole = run(settings, tmp_path / "whole")
    history = [(row["epoch"], row["phase"]) for row in whole[1].history]
    assert history == [(0, "start"), (1, "warmup"), (4, "triplet")]
    assert whole[1].stopped == "patience"
    assert_resumes(settings, tmp_path / "epoch", whole, KillAt(epoch=1))
    eager = settings.model_copy(update=AFTER_EACH_STEP)
    assert_resumes(eager, tmp_path / "step", whole, KillAt(step=step))  # the second of triplets


@pytest.mark.parametrize(
    ("start", "backbone"), [("", "pretrained"), ("a trained model", "resnet18")]
)
def test_a_trained_start_begins_its_classes_at_the_mean_embeddings(start, backbone, tmp_path):
    (model := network()).backbone = backbone
    started = trainer(tiny_training(warmup_sampler="uniform_all", start=start), tmp_path, model)
    started.init_classes()
    centres = class_centres(started.inputs.embed_plain(model, "train"), TRAIN.labels)
    assert started.head.weight.shape == (4 + 3, 16)
    assert np.allclose(started.head.weight.detach().numpy(), centres)


def test_distillation_learns_to_see_through_degradation_and_resumes(tmp_path):
    train, val = coloured_people(4, 3, singles=12, seed=1), coloured_people(6, 3, seed=2)
    settings = tiny_training(
        warmup_loss="distillation", warmup_sampler="uniform_all", warmup_epochs=8,
        triplet_epochs=0, patience=8, learning_rate=0.0005, frozen_units=1, jitter=0.0,
        brightness=0.0, exposure=1.0, grey=0.3, cover=0.3, resolution=0.5, unaltered=0.3,
    )  # fmt: skip
    inputs = pixel_inputs(train, val, settings)

    def trained(folder: Path, log: TrainingLog | None = None) -> Trained:
        model = network()
        return model, Trainer(model, inputs, settings, folder, log=log).fit()

    start, (whole, result) = network().eval(), trained(tmp_path / "whole")
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


def test_distillation_does_not_reward_the_mean_of_all_faces():
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


def test_frozen_units_keep_their_weights_and_statistics(tmp_path):
    run(tiny_training(frozen_units=3, triplet_epochs=0), tmp_path)
    ended = saved(tmp_path)[0]["trained"]
    kept = {name: torch.equal(value, ended[name]) for name, value in network().state_dict().items()}
    assert all(same == name.startswith("trunk") for name, same in kept.items())


@pytest.mark.parametrize("miner", ["semi_hard", "batch_hard"])
def test_collapse_stops_the_run_with_advice(tmp_path, miner):
    settings = tiny_training(miners={miner: 1.0}, warmup_epochs=0, triplet_epochs=1)
    (model := network()).head[3].bias.data.fill_(1000.0)  # all embeddings point one way
    with pytest.raises(FaceOpsError, match=r"collapsed to one point .* lower train.learning_rate"):
        trainer(settings, tmp_path, model).fit()


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_update(tmp_path):
    class Blinding(TrainingLog):
        def log_step(self, step: int, figures: dict[str, float]) -> None:
            next(model.trunk.parameters()).data.fill_(1e38)  # finite, but its square is not

    model = network()
    with pytest.raises(FaceOpsError, match=r"gradient of step 2 in epoch 1 is not finite"):
        trainer(PLAIN, tmp_path, model, log=Blinding()).fit()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Distutils was imported before Setuptools")
@pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils")
def test_a_compiled_network_in_bfloat16_learns_too(tmp_path):
    model = network()
    compiled = tiny_training(precision="bfloat16", compile=True, triplet_epochs=0)
    result = trainer(compiled, tmp_path / "compiled", model).fit()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    plain = trainer(tiny_training(triplet_epochs=0), tmp_path / "plain").fit()
    assert result.history[1]["loss"] == pytest.approx(plain.history[1]["loss"], rel=0.05)


def test_one_person_is_too_few(tmp_path):
    lonely = coloured_people(1, 3, singles=4)
    with pytest.raises(FaceOpsError, match=r"the split train has 1 people"):
        build_inputs(network(), lonely, VAL, PLAIN, tmp_path, torch.device("cpu"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(FaceOpsError, match=r"last.safetensors is damaged; delete it"):
        run(PLAIN, tmp_path)
    delete_checkpoint(tmp_path)
    assert not tmp_path.exists()


def test_what_changes_the_result_is_another_run(monkeypatch):
    base = run_key(tiny_training(), "data")
    assert run_key(tiny_training(max_minutes=5, checkpoint_minutes=1), "data") == base
    keys = {base, run_key(tiny_training(learning_rate=0.1), "data"), run_key(tiny_training(), "x")}
    monkeypatch.setattr(state, "TRAINING_VERSION", 99)
    keys.add(run_key(tiny_training(), "data"))
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.add(run_key(tiny_training(), "data"))
    assert len(keys) == 5


def test_a_gain_below_min_delta_is_kept_but_does_not_reset_patience(tmp_path):
    recording = trainer(tiny_training(min_delta=0.01), tmp_path)
    seen = []
    for epoch, score in enumerate([0.5, 0.505, 0.503, 0.52, 0.529]):
        recording.model.head[3].bias.data.fill_(epoch)
        recording.record_epoch({"epoch": epoch, "val_score": score})
        kept = recording.best_weights["head.3.bias"][0].item()
        seen.append((recording.best_epoch, recording.stale_epochs, kept))
    assert seen == [(0, 0, 0), (1, 1, 1), (1, 2, 1), (3, 0, 3), (4, 1, 4)]


def test_a_longer_time_limit_continues_the_run(tmp_path):
    for minutes, ended in ((1e-6, ("max_minutes", 1)), (60, ("finished", 4))):
        _, result = run(tiny_training(max_minutes=minutes), tmp_path)
        assert (result.stopped, len(result.history)) == ended
