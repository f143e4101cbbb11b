"""What the settings of a run feed the network."""

from pathlib import Path

import torch

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.training_inputs import FeatureInputs, PixelInputs, TrainingInputs


def trains_head_only(settings: Train) -> bool:
    """Return whether the early layers stay as they are."""
    return settings.backbone == "pretrained" and settings.freeze


def build_inputs(
    model: Embedder,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    folder: Path,
    device: torch.device,
) -> TrainingInputs:
    """Return pixels, or the frozen layers' features, which are looked for and kept in `folder`."""
    if trains_head_only(settings):
        return FeatureInputs(
            cached_features(model, train, settings.flip, folder, "train", device),
            cached_features(model, val, False, folder, "val", device),
            device,
        )
    return PixelInputs(train, val, Augmentation.of(settings), device)
