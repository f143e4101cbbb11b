"""Check the section `train` of params.yaml against the registries of this room."""

from pathlib import Path

import torch

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Train
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.heads import build_head
from faceops.embedding.miners import MINERS

GLOBAL = "global"  # mines over the training set, the others within a batch


def check_train_params(train: Train, path: Path) -> None:
    """Refuse names that no registry has, and shapes that the chosen backbone cannot take.

    Builds the backbone and the head without memory for their weights (torch's meta device).

    Raises:
        UsageError: names the file `path`, the key, its value and the valid ones.
    """
    for name in train.miners:
        if name not in (*MINERS, GLOBAL):
            raise UsageError(
                f"{path}: train.miners: there is no miner {name!r}; use"
                f" {', '.join((*MINERS, GLOBAL))}."
            )
    try:
        with torch.device("meta"):
            build_backbone(train.backbone, train.embedding_size, train.input_size, train.colour)
            build_head(train.head, train.embedding_size, 2, train.head_scale, train.head_margin)
    except FaceOpsError as error:
        raise UsageError(f"{path}: {error}") from None
