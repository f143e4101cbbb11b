"""Train an embedder: classification first, mined triplets second, the best epoch kept.

An epoch is a list of steps, each a batch of P people x K photos, or in the warm-up of as many
photos whoever is on them. A step embeds its batch, takes the loss (of the classification head, of
the triplets that a miner finds in the batch, or of both), and moves the weights. After an epoch the
validation people are scored.
"""

import math
import os
import shutil
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.config.sections import Train
from faceops.embedding.accept_rates import validation_figures
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.mobilefacenet import load_sface
from faceops.embedding.embedder import Embedder
from faceops.embedding.global_mining import MemoryBank
from faceops.embedding.heads import build_head, class_centres
from faceops.embedding.miners import MINERS, squared_distances, triplet_loss
from faceops.embedding.training.checkpoint import NoLog, Outcome, Row, RunState, TrainingLog
from faceops.embedding.training.epoch_steps import (
    Step,
    epoch_steps,
    epochs_of,
    mine_negatives,
    miner_of,
    next_epoch,
    phase_of,
    step_seed,
    steps_before,
)
from faceops.embedding.training.inputs import TrainingInputs, read_ahead
from faceops.embedding.training.processes import ALONE, Processes, StopSignal
from faceops.embedding.training.progress_figures import check_alive, check_gradient, watch_batch
from faceops.embedding.training.samplers import LabelledCrops, classes_of

WARMUP_SHARE = 0.05


def build_optimiser(
    trained: torch.nn.Module, head: torch.nn.Module, settings: Train
) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019); weight decay is for matrices and kernels alone."""
    weights = [*trained.parameters(), *head.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # Biases, normalisation and slopes: pulling them to zero only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: a quarter of the time on a CPU, where it is a tenth of a step on small crops.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def build_schedule(optimiser: torch.optim.Optimizer, steps: int, step: int = 0) -> LambdaLR:
    """Return the schedule of a run of `steps`, placed at `step`, 0 .. steps - 1.

    The rate rises linearly over the first twentieth of the steps and falls by half a cosine to
    zero (Loshchilov & Hutter 2017).
    """
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])  # required by a scheduler that starts later
    return LambdaLR(optimiser, factor, last_epoch=step - 1)


def build_average(module: torch.nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential moving average of weights and running statistics; decay 0: None.

    The decay rises with the updates n, min(decay, (1 + n) / (10 + n)), so that the random start
    is soon forgotten and short runs profit too (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).
    """
    if decay == 0:
        return None

    def update(averages: Any, values: Any, count: torch.Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, values)  # counts of batches
            return
        updates = int(count) - 1  # the start is counted too
        ema = get_ema_multi_avg_fn(min(decay, (1 + updates) / (10 + updates)))
        ema(averages, values, count)

    average = AveragedModel(module, multi_avg_fn=update, use_buffers=True)
    average.update_parameters(module)  # the first update copies; the later ones average
    return average


def begin_run(
    model: Embedder,
    inputs: TrainingInputs,
    train: LabelledCrops,
    settings: Train,
    device: torch.device,
) -> RunState:
    """Return the state of a run that has taken no step; the head is drawn from the seed."""
    trained = inputs.trained(model)
    torch.manual_seed(settings.seed)
    head = build_head(
        settings.head,
        model.embedding_size,
        classes_of(train, settings),
        settings.head_scale,
        settings.head_margin,
    ).to(device)
    average = build_average(trained, settings.ema_decay)
    if settings.compile:
        _check_compiler()
        trained.compile()
    bank = None
    if "global" in settings.miners and settings.triplet_epochs > 0:
        bank = MemoryBank(len(train.labels), model.embedding_size, device)
    optimiser = build_optimiser(trained, head, settings)
    return RunState(device, trained, head, optimiser, average, bank)


def _check_compiler() -> None:
    """Raise FaceOpsError where torch.compile would find no C++ compiler, at the first step."""
    names = [os.environ.get("CXX", ""), "g++", "clang++"]
    if not any(shutil.which(name) for name in names if name):
        raise FaceOpsError(
            "train.compile needs a C++ compiler; install g++ or set train.compile to false."
        )


def start_head(
    run: RunState, model: Embedder, inputs: TrainingInputs, train: LabelledCrops, settings: Train
) -> None:
    """Put the classes where a `model` that tells people apart has them, if any epoch classifies."""
    later = settings.head_loss_weight > 0 and settings.triplet_epochs > 0
    if model.backbone == "pretrained" and (settings.warmup_epochs > 0 or later):
        model.eval()
        usable = train.labels < classes_of(train, settings)
        embeddings = inputs.embed_plain(model, False)[usable]
        centres = torch.from_numpy(class_centres(embeddings, train.labels[usable]))
        run.head.start_at(centres.to(run.device))


def train_embedder(
    model: Embedder,
    inputs: TrainingInputs,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    checkpoints: Path,
    device: torch.device,
    processes: Processes = ALONE,
    log: TrainingLog | None = None,
) -> Outcome:
    """Train `model` in place and leave it with the weights of its best epoch.

    Epochs are compared by `val_score` (see `validation_figures`); the untouched start is a
    candidate, and any gain makes a new best. Patience counts the epochs of a phase since
    `val_score` rose by more than `min_delta`.

    A run that was stopped, at any step and by any means, continues after the last step in
    `checkpoints` and on a CPU ends with the same weights, bit for bit; the caller deletes the
    checkpoints when it has stored the result.

    Args:
        model: the start.
        inputs: pixels (trains all layers) or cached features (trains the head).
        train, val: faces of different people.
        settings: as in params.yaml.
        checkpoints: a folder of this run's own.
        device: where `inputs` puts its tensors.
        processes: that share each batch.
        log: hears of steps and epochs.

    Raises:
        FaceOpsError: too few people, or training went wrong (see `check_alive`).
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the step in hand is in the checkpoint.
    """
    for name, faces in (("train", train), ("val", val)):
        if faces.people < 2:
            raise FaceOpsError(
                f"the split {name} has {faces.people} people with two or more photos, and at least"
                " 2 are needed; add photos, or change the shares in the section split."
            )
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)  # else gradients of indexing add in any order
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    model.to(device).to(memory_format=torch.channels_last)
    processes.sync_batch_norm(model, device)
    run = begin_run(model, inputs, train, settings, device)
    training = _Training(
        model, inputs, train, val, settings, checkpoints, processes, log or NoLog(), run
    )
    with StopSignal() as stop:
        training.all_epochs(stop)
    run.trained.load_state_dict(run.best)
    model.eval()
    return run.outcome


@dataclass
class _Training:
    """What the steps of a run work with; the names are those of `train_embedder`."""

    model: Embedder
    inputs: TrainingInputs
    train: LabelledCrops
    val: LabelledCrops
    settings: Train
    checkpoints: Path
    processes: Processes
    log: TrainingLog
    run: RunState

    def all_epochs(self, stop: StopSignal) -> None:
        """Go through the epochs from where the run stands, until all, patience or time is out."""
        run, settings = self.run, self.settings
        if run.restore(self.checkpoints):
            self.say(f"training continues after epoch {run.outcome.last['epoch']}, step {run.step}")
        else:
            start_head(run, self.model, self.inputs, self.train, settings)
            run.take_in({"epoch": 0, "phase": "start", "miner": ""} | self.score(), 0.0)
            run.idle = 0
        for earlier in run.outcome.history:
            self.log.log_epoch(earlier, 0.0)

        while run.outcome.last["epoch"] < epochs_of(settings):
            if run.epoch == 0:  # none is in hand
                epoch = next_epoch(run.outcome.last, run.idle, settings)
                if epoch is None:
                    run.outcome.stopped = "patience"
                    return
                run.epoch = epoch
                if epoch == settings.warmup_epochs + 1:
                    run.idle = 0  # triplets get their own patience
            begun, run.images = time.monotonic(), 0
            if not self.all_steps(run.epoch, stop):
                run.outcome.stopped = "max_minutes"
                return
            self.end_epoch(run.epoch, time.monotonic() - begun)

    def all_steps(self, epoch: int, stop: StopSignal) -> bool:
        """Take the steps of `epoch` that are left; return whether there was time for them."""
        run, settings = self.run, self.settings
        miner = miner_of(epoch, settings)
        if miner == "global" and run.step == 0:
            run.mined = mine_negatives(self.fresh_bank(), self.train, settings, epoch)
        steps = epoch_steps(self.train, settings, epoch, run.mined if miner == "global" else None)
        fewest = min(len(step.positions) for step in steps)
        if fewest < 2 * self.processes.count:  # batch normalisation needs two
            raise FaceOpsError(
                f"train.processes = {self.processes.count} leaves a process fewer than 2 of the"
                f" {fewest} faces of a batch; lower it."
            )
        left = len(steps) - run.step
        before, all_in_all = (
            steps_before(self.train, settings, one) for one in (epoch, epochs_of(settings) + 1)
        )
        schedule = build_schedule(run.optimiser, all_in_all, before + run.step)
        ahead = read_ahead(steps[run.step :], self.load)
        _training_mode(self.model, run.trained)
        saved_at = time.monotonic()
        with closing(ahead):
            for step, loaded in track(ahead, f"epoch {epoch}/{epochs_of(settings)}", left):
                number = before + run.step
                rate = float(schedule.get_last_lr()[0])
                # All that is random in a step comes from its place, so that a run which resumes
                # needs no generator's state.
                seed = step_seed(settings.seed, epoch, run.step)
                figures = {"learning_rate": rate} | self.take_step(step, loaded, miner, seed)
                schedule.step()
                self.log.log_step(number + 1, figures)
                run.figures.add(figures)
                run.step, run.images = run.step + 1, run.images + len(step.positions)

                late = 0 < settings.max_minutes * 60 < run.elapsed
                halt, late = self.processes.agree((stop.asked, late))
                due = time.monotonic() - saved_at > settings.checkpoint_minutes * 60
                if halt or late or due:
                    self.save()
                    saved_at = time.monotonic()
                if halt:
                    raise KeyboardInterrupt
                if late:
                    return False
        return True

    def load(self, step: Step) -> torch.Tensor:
        """Read this process's share of a batch."""
        return self.inputs.load(step.positions[self.processes.share(len(step.positions))])

    def take_step(
        self, step: Step, loaded: torch.Tensor, miner: str, seed: int
    ) -> dict[str, float]:
        """Embed a batch of B faces, move the weights, return the step's figures."""
        run, settings, device = self.run, self.settings, self.run.device
        torch.manual_seed(seed)
        labels = torch.from_numpy(step.labels).to(device)  # (B,)
        with torch.autocast(device.type, torch.bfloat16, settings.precision == "bfloat16"):
            first = self.processes.share(len(labels)).start
            own = self.inputs.embed(self.model, loaded, seed, first)  # (B / processes, D)
        embeddings = self.processes.gather(own, len(labels))  # (B, D)
        distances = squared_distances(embeddings)  # (B, B)

        loss = embeddings.sum() * 0
        classified = settings.head_loss_weight if miner else 1.0
        if classified > 0:
            # The others, people with one photo, have no class.
            known = torch.from_numpy(np.flatnonzero(step.labels < run.head.people)).to(device)
            loss = loss + classified * run.head(embeddings[known], labels[known])
        if miner:
            triplets = step.triplets_on(device)  # where global mining chose them
            if triplets is None:
                draw = torch.Generator(device).manual_seed(seed)
                triplets = MINERS[miner](distances.detach(), labels, settings.triplet_margin, draw)
            loss = loss + triplet_loss(distances, triplets, settings.triplet_margin)

        run.optimiser.zero_grad()
        loss.backward()
        self.processes.add_gradients(run.trained)
        norm = torch.nn.utils.clip_grad_norm_(run.trained.parameters(), settings.grad_clip_norm)
        check_gradient(float(norm), run.epoch, run.step)  # before it can spoil the weights
        run.optimiser.step()
        if run.average is not None:
            run.average.update_parameters(run.trained)
        with torch.no_grad():
            if run.bank is not None and run.mined is not None:
                run.bank.update(torch.from_numpy(step.positions), embeddings.detach())
            watched = watch_batch(embeddings, distances, labels, settings.triplet_margin)
        return {"loss": float(loss.detach())} | watched

    def end_epoch(self, epoch: int, seconds: float) -> None:
        """Score the validation people, keep what is best, write the checkpoint, tell."""
        run, phase = self.run, phase_of(epoch, self.settings)
        row: Row = {"epoch": epoch, "phase": phase, "miner": miner_of(epoch, self.settings)}
        speed = run.images / seconds
        row |= run.figures.means()
        check_alive([*run.outcome.history, row])
        with run.averaged_weights():
            row |= self.score()
            run.take_in(row, self.settings.min_delta)
        self.save()
        self.log.log_epoch(row, speed)
        self.say(
            f"epoch {epoch}/{epochs_of(self.settings)} ({row['miner'] or phase}):"
            f" loss {row['loss']:.3f}, validation TAR {row['val_tar']:.4f} (score"
            f" {row['val_score']:.4f}, best epoch {run.outcome.best_epoch}),"
            f" spread {row['spread']:.2f}, {speed:.0f} images/s"
        )

    def score(self) -> Row:
        """Return the validation figures of the weights in place."""
        self.model.eval()
        self.processes.broadcast_buffers(self.run.trained)
        figures = validation_figures(self.inputs.embed_plain(self.model, True), self.val.labels)
        agreed: Row = self.processes.agree(figures)
        return agreed

    def fresh_bank(self) -> MemoryBank:
        """Return the latest embeddings; faces that no step of the last epoch saw are embedded."""
        bank = self.run.bank
        assert bank is not None
        stale = bank.stale()
        if len(stale):
            self.model.eval()
            self.processes.broadcast_buffers(self.run.trained)
            fresh = self.inputs.embed_plain(self.model, False, stale)
            bank.update(torch.from_numpy(stale), torch.from_numpy(fresh))
        bank.begin_epoch()
        return bank

    def say(self, line: str) -> None:
        """Tell the user how far it is, from one process."""
        if self.processes.rank == 0:
            print(line, file=sys.stderr, flush=True)

    def save(self) -> None:
        """Write the checkpoint, from one process."""
        if self.processes.rank == 0:
            self.run.save(self.checkpoints)


def _training_mode(model: Embedder, trained: torch.nn.Module) -> None:
    """Put `trained` into training mode; a pretrained one keeps its running statistics.

    Those were measured on millions of faces; a batch of few people would replace them by worse.
    """
    model.eval()
    trained.train()
    if model.backbone == "pretrained":
        for part in trained.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.eval()


def start_model(settings: Train, sface: Path | None) -> Embedder:
    """Return SFace from the file `sface`, or an untrained network drawn from `settings.seed`."""
    if settings.backbone == "pretrained":
        assert sface is not None
        return load_sface(sface)
    torch.manual_seed(settings.seed)
    return build_backbone(
        settings.backbone, settings.embedding_size, settings.input_size, settings.colour
    )
