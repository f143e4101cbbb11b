"""The parts of a run before its first step."""

import numpy as np
import torch

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.heads.build import build_head
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.mining.memory_bank import MemoryBank
from faceops.embedding.training.optimiser import build_optimiser
from faceops.embedding.training.run_state import RunState
from faceops.embedding.training.training_inputs import TrainingInputs
from faceops.embedding.training.weight_average import WeightAverage


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
        settings.classifier,
        model.embedding_size,
        train.people,
        settings.classifier_scale,
        settings.classifier_margin,
    ).to(device)
    if model.backbone == "pretrained" and epochs_classify(settings):
        model.eval()
        head.start_at(_class_centres(inputs.embed_plain(model, False), train).to(device))
    if settings.compile:
        trained.compile()
    bank = None
    if "global" in settings.miners and settings.triplet_epochs > 0:
        bank = MemoryBank(len(train.labels), model.embedding_size, device)
    optimiser = build_optimiser(trained, head, settings)
    return RunState(
        device, trained, head, optimiser, WeightAverage(trained, settings.ema_decay), bank
    )


def epochs_classify(settings: Train) -> bool:
    """Return whether any epoch uses the classification head."""
    later = settings.classifier_weight > 0 and settings.triplet_epochs > 0
    return settings.warmup_epochs > 0 or later


def _class_centres(embeddings: np.ndarray, train: LabelledCrops) -> torch.Tensor:
    """Return the mean embedding of each person with two or more photos, float32 (people, D)."""
    sums = np.zeros((train.people, embeddings.shape[1]), np.float32)
    usable = ~train.negative_only
    np.add.at(sums, train.labels[usable], embeddings[usable])
    return torch.from_numpy(sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-6))
