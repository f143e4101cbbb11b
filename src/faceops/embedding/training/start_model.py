"""The model that training starts from."""

from pathlib import Path

import torch

from faceops.config.sections import Train
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.backbones.pretrained_sface import load_sface
from faceops.embedding.embedder import Embedder


def start_model(settings: Train, sface: Path | None) -> Embedder:
    """Return SFace from the file `sface`, or an untrained network drawn from `settings.seed`."""
    if settings.backbone == "pretrained":
        assert sface is not None
        return load_sface(sface)
    torch.manual_seed(settings.seed)
    return build_backbone(
        settings.backbone, settings.embedding_size, settings.input_size, settings.colour
    )
