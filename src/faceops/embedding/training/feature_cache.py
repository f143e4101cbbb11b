"""Features of a frozen trunk, computed once and kept in a memory-mapped file."""

import copy
import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from faceops.base.locks import file_lock
from faceops.base.progress import track
from faceops.embedding.backbones.mobilefacenet import ConvUnit
from faceops.embedding.embedder import Embedder, pixels_of
from faceops.embedding.model_file import weights_sha256
from faceops.embedding.training.dataset import FaceDataset

BATCH = 32
# Raise it with a change of the code after which a trunk gives other features.
FEATURES_VERSION = 1


def features_key(model: Embedder, faces: FaceDataset, flip: bool) -> str:
    """Return a hash of what changes the features: crops, the trunk's weights, the views."""
    digest = hashlib.sha256(
        f"{FEATURES_VERSION} {flip} {model.backbone} {weights_sha256(model.trunk)}".encode()
    )
    for row in faces.rows:
        digest.update(faces.crops[row].tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def cached_features(
    model: Embedder, faces: FaceDataset, flip: bool, folder: Path, name: str, device: torch.device
) -> np.ndarray:
    """Return the trunk's features of `faces`, float16 (N, views, ...), memory-mapped.

    View 0 is the face as it is; with `flip` view 1 is its mirror image. Other augmentations
    (shift, brightness) cannot be applied to features. Half precision halves the file and changes
    an embedding by less than 1e-3.

    Args:
        folder: where `features-<name>-<key>.f16` is written, batch by batch: an interrupted run
            continues where it stopped. Files of the same name with other keys are deleted.
    """
    path = folder / f"features-{name}-{features_key(model, faces, flip)}.f16"
    folder.mkdir(parents=True, exist_ok=True)
    trunk = _fused(model.trunk).to(device).to(memory_format=torch.channels_last)
    views = 2 if flip else 1
    shape = (views, *trunk(torch.zeros(1, 3, 112, 112, device=device)).shape[1:])
    row_bytes = 2 * math.prod(shape)
    busy = f"the features of {name} in {folder} are being computed"
    with file_lock(folder / f".features-{name}.lock", busy), path.open("ab") as file:
        for stale in set(folder.glob(f"features-{name}-*")) - {path}:
            stale.unlink()
        done = file.tell() // row_bytes
        file.truncate(done * row_bytes)  # an interrupted run may leave a part of a row
        for start in track(range(done, len(faces), BATCH), "batches of frozen features"):
            pixels = pixels_of(faces[np.arange(start, min(start + BATCH, len(faces)))], device)
            seen = [trunk(pixels.flip(3) if view else pixels) for view in range(views)]
            file.write(torch.stack(seen, dim=1).half().cpu().numpy().tobytes())
            file.flush()
    return np.memmap(path, np.float16, "r", shape=(len(faces), *shape))


def _fused(trunk: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a frozen `trunk` with each batch normalisation fused into its convolution.

    The same function to 1e-5, a third faster on a CPU.
    """
    trunk = copy.deepcopy(trunk).eval()
    for part in trunk.modules():
        if isinstance(part, ConvUnit):
            part.fuse()
    return trunk
