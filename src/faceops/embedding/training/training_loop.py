"""Train an embedder: a classification warm-up, then mined triplets; the best epoch is kept.

An epoch is a list of batches. A step embeds its batch, takes the loss (of the classification head,
of the triplets that a miner finds in the batch, of all its pairs, or several of these), and updates
the weights. After an epoch the validation people are scored. `Trainer` reads from top to bottom:
data, model, optimiser, loop.

A warm-up by distillation needs no labels: the network learns to give an augmented crop the
embedding that the start gives to the crop as it is. Validation crops are then augmented too.
"""

import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from faceops.base.errors import FaceOpsError
from faceops.base.work import ordered_map, track
from faceops.config.sections import Train
from faceops.embedding import losses
from faceops.embedding.embedder import Embedder, compile_network
from faceops.embedding.training import state
from faceops.embedding.training.batches import Batch, Epochs
from faceops.embedding.training.figures import (
    Row,
    TrainingLog,
    check_collapse,
    check_gradient,
    validation_figures,
)
from faceops.embedding.training.inputs import TrainingInputs
from faceops.embedding.training.processes import Processes, stop_signals


@dataclass
class TrainingResult:
    """The same when the run is repeated on one CPU."""

    history: list[Row]  # a row per epoch, epoch 0 being the start
    best_epoch: int  # the epoch whose weights the model now has
    stopped: str  # "finished", "patience" or "max_minutes"

    @property
    def best(self) -> Row:
        """The row of the best epoch; early stopping of the warm-up skips epochs."""
        return next(row for row in self.history if row["epoch"] == self.best_epoch)


class Trainer:
    """Trains a model in place; it ends with the weights of its best epoch.

    Epochs are compared by `val_score` (see `validation_figures`); the start is a candidate.
    Patience counts the epochs of a phase since `val_score` rose by more than `min_delta`.

    A run that was interrupted, at any step and in any way, continues after the last step in
    `checkpoints`, a folder of its own, and on a CPU ends with the same weights, bit for bit; the
    caller deletes the checkpoints when it has stored the result. `log` takes the figures of steps
    and epochs.
    """

    def __init__(
        self,
        model: Embedder,
        inputs: TrainingInputs,
        settings: Train,
        checkpoints: Path,
        processes: Processes | None = None,
        log: TrainingLog | None = None,
    ) -> None:
        self.settings, self.inputs, self.checkpoints = settings, inputs, checkpoints
        self.processes, self.log = processes or Processes(), log or TrainingLog()
        self.device = device = inputs.device
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)  # else gradients of indexing add in any order
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

        self.train, self.val = inputs.train, inputs.val
        self.epochs = Epochs(inputs.train, settings)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.processes.sync_batch_norm(model, device)
        self.trained = inputs.trained(model)
        self.frozen = nn.ModuleList(list(model.trunk.children())[: settings.frozen_units])
        self.frozen.requires_grad_(False)
        torch.manual_seed(settings.seed)
        classes = self.train.num_classes(settings)
        scale, margin = settings.head_scale, settings.head_margin
        head = losses.build_head(settings.head, model.embedding_size, classes, scale, margin)
        self.head = head.to(device)
        self.start = state.copy_weights(self.trained)
        self.average = state.build_average(self.trained, settings.ema_decay)
        if settings.compile:
            compile_network(self.trained)
        self.optimiser = state.build_optimiser(self.trained, self.head, settings)
        self.bank: state.MemoryBank | None = None
        if "global" in settings.miners and settings.triplet_epochs > 0:
            self.bank = state.MemoryBank(len(self.train), model.embedding_size, device)
        self.negatives: np.ndarray | None = None  # of global mining, for the epoch in progress
        self.distils = settings.warmup_loss == "distillation" and settings.warmup_epochs > 0
        self.targets: Tensor | None = None  # (N, D) of distillation: the start's embeddings

        # The progress of the run, which a checkpoint holds.
        self.history: list[Row] = []
        self.best_epoch = 0
        self.best_weights: state.Tensors = {}
        self.best_for_patience, self.stale_epochs = 0.0, 0
        self.epoch, self.step = 0, 0  # in progress; epoch 0: between two epochs
        self.step_figures: list[dict[str, float]] = []
        self.seconds, self.started = 0.0, time.monotonic()  # of earlier processes; of this one

    def fit(self) -> TrainingResult:
        """Train until all epochs are done, patience runs out or the time limit is reached.

        Raises:
            FaceOpsError: training went wrong (see `check_collapse`).
            KeyboardInterrupt: Ctrl-C or SIGTERM came; the current step is in the checkpoint.
        """
        with stop_signals() as self.stop_received:
            if self.load_checkpoint():
                last = self.history[-1]["epoch"]
                self.print(f"training continues after epoch {last}, step {self.step}")
            else:
                self.init_classes()
                if self.distils:
                    self.model.eval()
                    self.targets = torch.from_numpy(self.inputs.embed_plain(self.model, "train"))
                self.record_epoch({"epoch": 0, "phase": "start", "miner": ""} | self.evaluate())
                self.stale_epochs = 0
            for earlier in self.history:
                self.log.log_epoch(earlier, 0.0)
            stopped = self.run_epochs()
        self.trained.load_state_dict(self.best_weights)
        self.model.eval()
        return TrainingResult(self.history, self.best_epoch, stopped)

    def init_classes(self) -> None:
        """Begin each class of the head at the mean embedding of its person, if trained before."""
        settings, train = self.settings, self.train
        beside_triplets = settings.head_loss_weight > 0 and settings.triplet_epochs > 0
        classifies = (settings.warmup_epochs > 0 and not self.distils) or beside_triplets
        trained = self.model.backbone == "pretrained" or settings.start != ""
        if trained and classifies:
            self.model.eval()
            classified = np.flatnonzero(train.labels < train.num_classes(settings))
            embeddings = self.inputs.embed_plain(self.model, "train", classified)
            centres = losses.class_centres(embeddings, train.labels[classified])
            self.head.start_at(torch.from_numpy(centres).to(self.device))

    def run_epochs(self) -> str:
        """Run the remaining epochs; return why training stopped."""
        settings = self.settings
        while self.history[-1]["epoch"] < self.epochs.total:
            if self.epoch == 0:
                epoch = self.epochs.after(self.history[-1], self.stale_epochs)
                if epoch is None:
                    return "patience"
                self.epoch = epoch
                if epoch == settings.warmup_epochs + 1:
                    self.stale_epochs = 0  # triplets have their own patience
            started, first_step = time.monotonic(), self.step
            batches = self.mine_and_draw()
            if not self.run_steps(batches):
                return "max_minutes"
            images = sum(len(batch.positions) for batch in batches[first_step:])
            self.end_epoch(images / (time.monotonic() - started))
        return "finished"

    def mine_and_draw(self) -> list[Batch]:
        """Return the batches of the epoch, after global mining where the epoch uses it."""
        is_global = self.epochs.miner(self.epoch) == "global"
        if is_global and self.step == 0:
            self.negatives = self.epochs.mine(self.fresh_embeddings(), self.epoch)
        batches = self.epochs.batches(self.epoch, self.negatives if is_global else None)
        smallest = min(len(batch.positions) for batch in batches)
        if smallest < 2 * self.processes.count:  # batch normalisation needs two
            raise FaceOpsError(
                f"train.processes = {self.processes.count} leaves a process fewer than 2 of the"
                f" {smallest} faces of a batch; lower it."
            )
        return batches

    def run_steps(self, batches: list[Batch]) -> bool:
        """Take the remaining steps of the epoch; return False if the time limit is reached."""
        settings, epochs = self.settings, self.epochs
        before = epochs.batches_before(self.epoch)
        all_steps = epochs.batches_before(epochs.total + 1)
        schedule = state.build_schedule(self.optimiser, all_steps, before + self.step)
        remaining = batches[self.step :]
        loading = ordered_map(self.load_share, remaining, workers=1)  # reads ahead
        self.set_training_mode()
        saved_at = time.monotonic()
        with closing(loading):
            steps = zip(remaining, loading, strict=True)
            for batch, loaded in track(steps, self.epoch_name, len(remaining)):
                figures = {"learning_rate": float(schedule.get_last_lr()[0])}
                figures |= self.train_step(batch, loaded)
                schedule.step()
                self.log.log_step(before + self.step + 1, figures)
                self.step_figures.append(figures)
                self.step += 1

                late = 0 < settings.max_minutes * 60 < self.elapsed
                stop, late = self.processes.agree((self.stop_received.is_set(), late))
                due = time.monotonic() - saved_at > settings.checkpoint_minutes * 60
                if stop or late or due:
                    self.save_checkpoint()
                    saved_at = time.monotonic()
                if stop:
                    raise KeyboardInterrupt
                if late:
                    return False
        return True

    @property
    def epoch_name(self) -> str:
        return f"epoch {self.epoch}/{self.epochs.total}"

    def load_share(self, batch: Batch) -> Tensor:
        return self.inputs.load(batch.positions[self.processes.share(len(batch.positions))])

    def train_step(self, batch: Batch, loaded: Tensor) -> dict[str, float]:
        """Embed a batch of B faces, update the weights, return the step's figures."""
        settings, device = self.settings, self.device
        # All randomness of a step comes from its place, so that a run which resumes needs no
        # generator's state.
        place = np.random.SeedSequence((settings.seed, self.epoch, self.step))
        seed = int(place.generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.manual_seed(seed)
        labels = torch.from_numpy(batch.labels).to(device)  # (B,)
        with torch.autocast(device.type, torch.bfloat16, settings.precision == "bfloat16"):
            first = self.processes.share(len(labels)).start
            own = self.inputs.embed(self.model, loaded, seed, first)  # (B / processes, D)
        embeddings = self.processes.gather(own, len(labels))  # (B, D)
        distances = losses.squared_distances(embeddings)  # (B, B)

        loss = embeddings.sum() * 0
        miner = self.epochs.miner(self.epoch)
        head_weight = settings.head_loss_weight if miner else float(not self.distils)
        if self.targets is not None and not miner:
            targets = self.targets[torch.from_numpy(batch.positions)].to(device)
            loss = loss + losses.distillation_loss(embeddings, targets)
        if head_weight > 0:
            # People who are used as negatives only have no class.
            known = torch.from_numpy(np.flatnonzero(batch.labels < self.head.people)).to(device)
            loss = loss + head_weight * self.head(embeddings[known], labels[known])
        if settings.contrastive_weight > 0:
            temperature = settings.contrastive_temperature
            contrast = losses.contrastive_loss(embeddings, labels, temperature)
            loss = loss + settings.contrastive_weight * contrast
        if miner:
            triplets = batch.triplets  # where global mining chose them
            if triplets is None:
                triplets = losses.MINERS[miner](distances.detach(), labels, settings.triplet_margin)
            loss = loss + losses.triplet_loss(distances, triplets, settings.triplet_margin)

        self.optimiser.zero_grad()
        loss.backward()
        self.processes.add_gradients(self.trained)
        norm = nn.utils.clip_grad_norm_(self.trained.parameters(), settings.grad_clip_norm)
        check_gradient(float(norm), self.epoch, self.step)  # before it can spoil the weights
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.trained)
        if self.bank is not None and self.negatives is not None:
            self.bank.update(batch.positions, embeddings)
        figures = losses.batch_figures(embeddings, distances, labels, settings.triplet_margin)
        return {"loss": float(loss.detach())} | figures

    def end_epoch(self, images_per_second: float) -> None:
        """Score the validation people, keep the best weights, write the checkpoint, log."""
        name = self.epoch_name
        phase, miner = self.epochs.phase(self.epoch), self.epochs.miner(self.epoch)
        row: Row = {"epoch": self.epoch, "phase": phase, "miner": miner}
        row |= losses.epoch_means(self.step_figures)
        check_collapse([*self.history, row])
        with state.kept_weights(self.trained, self.average, self.start, self.settings.start_share):
            row |= self.evaluate()
            self.record_epoch(row)
        self.save_checkpoint()
        self.log.log_epoch(row, images_per_second)
        self.print(
            f"{name} ({miner or phase}): loss {row['loss']:.3f}, validation TAR"
            f" {row['val_tar']:.4f} (score {row['val_score']:.4f}, best epoch {self.best_epoch}),"
            f" spread {row['spread']:.2f}, {images_per_second:.0f} images/s"
        )

    def record_epoch(self, row: Row) -> None:
        """Add an epoch's row; keep the current weights if it is the best."""
        if not self.history or row["val_score"] > max(one["val_score"] for one in self.history):
            self.best_epoch, self.best_weights = row["epoch"], state.copy_weights(self.trained)
        self.history.append(row)
        self.stale_epochs += 1
        if row["val_score"] > self.best_for_patience + self.settings.min_delta:
            self.stale_epochs, self.best_for_patience = 0, row["val_score"]
        self.epoch, self.step, self.step_figures = 0, 0, []

    def evaluate(self) -> dict[str, float]:
        """Return the validation figures of the current weights."""
        self.model.eval()
        self.processes.broadcast_buffers(self.trained)
        seed = self.settings.seed if self.distils else None
        embeddings = self.inputs.embed_plain(self.model, "val", seed=seed)
        return self.processes.agree(validation_figures(embeddings, self.val.labels))

    def fresh_embeddings(self) -> np.ndarray:
        """Return the bank's embeddings, after embedding the faces that the last epoch did not."""
        bank = self.bank
        assert bank is not None
        stale = bank.stale()
        if len(stale):
            self.model.eval()
            self.processes.broadcast_buffers(self.trained)
            embeddings = self.inputs.embed_plain(self.model, "train", stale)
            bank.update(stale, torch.from_numpy(embeddings))
        bank.fresh.fill_(False)
        return bank.embeddings.cpu().numpy()

    def set_training_mode(self) -> None:
        """Put `trained` into training mode; a pretrained one keeps its running statistics.

        Those come from millions of faces; a batch of few people would replace them by worse. In
        distillation they are those of the teacher, who has seen no augmented crop.
        """
        self.model.eval()
        self.trained.train()
        self.frozen.eval()
        if self.model.backbone == "pretrained" or self.distils:
            for part in self.trained.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    @property
    def elapsed(self) -> float:
        """Seconds spent on this run by all processes that worked on it, one after another."""
        return self.seconds + time.monotonic() - self.started

    PROGRESS = (
        *("history", "best_epoch", "best_for_patience", "stale_epochs"),
        *("epoch", "step", "step_figures"),
    )

    def stateful(self) -> dict[str, nn.Module]:
        """Return the objects whose state a checkpoint stores, by name."""
        parts = {"trained": self.trained, "head": self.head}
        optional = {"average": self.average, "bank": self.bank}
        return parts | {name: part for name, part in optional.items() if part is not None}

    def save_checkpoint(self) -> None:
        """Replace the checkpoint, from one process."""
        if self.processes.rank > 0:
            return
        tensors = {name: part.state_dict() for name, part in self.stateful().items()}
        tensors |= {"best": self.best_weights, "optimiser": state.optimiser_tensors(self.optimiser)}
        if self.negatives is not None:
            tensors["mined"] = {"negatives": torch.from_numpy(self.negatives)}
        if self.targets is not None:
            tensors["start"] = {"embeddings": self.targets}
        progress = {name: getattr(self, name) for name in self.PROGRESS} | {"seconds": self.elapsed}
        state.save_checkpoint(self.checkpoints, tensors, progress)

    def load_checkpoint(self) -> bool:
        """Continue from the checkpoint of process 0; return whether there is one."""
        saved = state.load_checkpoint(self.checkpoints) if self.processes.rank == 0 else None
        saved = self.processes.agree(saved)  # the others may be on hosts with disks of their own
        if saved is None:
            return False
        tensors, progress = saved
        for name, part in self.stateful().items():
            part.load_state_dict(tensors[name])
        state.restore_optimiser(self.optimiser, tensors["optimiser"])
        if "mined" in tensors:
            self.negatives = tensors["mined"]["negatives"].numpy()
        if "start" in tensors:
            self.targets = tensors["start"]["embeddings"]
        self.best_weights = tensors["best"]
        for name in (*self.PROGRESS, "seconds"):
            setattr(self, name, progress[name])
        return True

    def print(self, line: str) -> None:
        """Show `line` on stderr, from one process."""
        if self.processes.rank == 0:
            print(line, file=sys.stderr, flush=True)
