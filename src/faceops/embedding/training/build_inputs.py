"""What the settings of a run feed the network."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from faceops.config.sections import Train
from faceops.embedding.backbones.build import STARTED
from faceops.embedding.backbones.descriptors import KEPT, description_by
from faceops.embedding.descriptors.regions import REGIONS
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.discriminant_start import start_by_discriminants
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.training_inputs import FeatureInputs, PixelInputs, TrainingInputs
from faceops.embedding.training.visual_words import kept_words

_BATCH = 512


def trains_head_only(settings: Train) -> bool:
    """Return whether the early layers stay as they are."""
    return settings.backbone in STARTED and settings.freeze


def build_inputs(
    model: Embedder,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    folder: Path,
    device: torch.device,
) -> TrainingInputs:
    """Return pixels, or the frozen layers' features, which are looked for and kept in `folder`.

    Descriptors first get the words and the start that the faces of `train` say.
    """
    if settings.backbone == "descriptors":
        # What no training changes after the words are there; it is kept from run to run.
        bare = Embedder(model.backbone, model.embedding_size, description_by(model), nn.Identity())
        kept_words(bare, train, folder)
        described = cached_features(bare, train, False, folder, "train", device)[:, 0]
        start_by_discriminants(model, described, train.labels, settings.seed)
        if settings.freeze:
            components = model.get_submodule("trunk.components").cpu()
            of_val = cached_features(bare, val, False, folder, "val", device)[:, 0]
            return FeatureInputs(
                _mapped(components, described), _mapped(components, of_val), device
            )
    elif trains_head_only(settings):
        return FeatureInputs(
            cached_features(model, train, settings.flip, folder, "train", device),
            cached_features(model, val, False, folder, "val", device),
            device,
        )
    return PixelInputs(train, val, Augmentation.of(settings), device)


@torch.inference_mode()
def _mapped(components: nn.Module, described: np.ndarray) -> np.ndarray:
    """Return float16 (N, 1, K): the components of faces `described`, in their one view."""
    mapped = np.empty((len(described), 1, len(REGIONS) * KEPT), np.float16)
    for start in range(0, len(described), _BATCH):
        part = torch.from_numpy(described[start : start + _BATCH].astype(np.float32))
        mapped[start : start + _BATCH, 0] = components(part).half().numpy()
    return mapped
