"""All faces by one model, embedded once and kept."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from experiments.training.built_faces import BuiltFaces
from faceops.base.progress import track
from faceops.embedding.embed_crops import embed_crops
from faceops.embedding.embedder import Embedder
from faceops.embedding.weights_sha256 import weights_sha256

BLOCK = 2048  # faces a file: a killed run goes on after the last one


def embed_faces(
    model: Embedder, faces: BuiltFaces, folder: Path, device: torch.device
) -> np.ndarray:
    """Return float32 (N, D), L2-normalised, of all `faces`, unmirrored, as a release does it.

    `folder` keeps them, by a hash of the model's weights and of the crops.
    """
    seen = "".join((*faces.hashes, weights_sha256(model)))
    home = folder / f"embeddings-{hashlib.sha256(seen.encode()).hexdigest()[:16]}"
    home.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, len(faces.rows), BLOCK), "blocks of faces embedded"):
        file = home / f"{start}.npy"
        if not file.exists():
            block = embed_crops(model, faces.crops[faces.rows[start : start + BLOCK]], 64, device)
            temporary = file.with_suffix(".tmp.npy")
            np.save(temporary, block)
            temporary.replace(file)
        parts.append(np.load(file))
    return np.concatenate(parts)
