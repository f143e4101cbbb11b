"""The parts of a run before its first step."""

import os
import shutil

import torch

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Train
from faceops.embedding.class_centres import class_centres
from faceops.embedding.embedder import Embedder
from faceops.embedding.heads.build import build_head
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.mining.memory_bank import MemoryBank
from faceops.embedding.training.classes import classes_of
from faceops.embedding.training.optimiser import build_average, build_optimiser
from faceops.embedding.training.run_state import RunState
from faceops.embedding.training.training_inputs import TrainingInputs


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
