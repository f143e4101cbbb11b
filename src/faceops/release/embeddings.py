"""Embeddings of all crops of a crops.npy; an interrupted run continues where it stopped."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.release.bundle import Bundle

_BLOCK = 64


def resumable_embeddings(
    embed: Callable[[np.ndarray], np.ndarray], size: int, crops_file: Path, folder: Path, model: str
) -> tuple[np.ndarray, Path]:
    """Return L2-normalised embeddings float32 (N, size) of all crops, and the file they are in.

    The file, `folder`/embeddings-<key>.f32, grows block by block. The key is a hash of `model`
    and of the bytes of `crops_file`; files with other keys are removed.

    Args:
        embed: crops uint8 (B, 112, 112, 3) RGB -> float32 (B, size).
        crops_file: crops.npy.
        model: identifies the embedder.
    """
    crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    key = hashlib.sha256(f"{model} {sha256_file(crops_file)}".encode()).hexdigest()[:16]
    file = folder / f"embeddings-{key}.f32"
    folder.mkdir(parents=True, exist_ok=True)
    for other in set(folder.glob("embeddings-*.f32")) - {file}:
        other.unlink()
    with file.open("ab") as rows:
        done = rows.tell() // (4 * size)
        rows.truncate(done * 4 * size)  # an interrupted run may leave half a row
        for start in track(range(done, len(crops), _BLOCK), "embedding blocks of faces"):
            block = embed(np.asarray(crops[start : start + _BLOCK]))
            rows.write(block.astype("<f4").tobytes())
            rows.flush()
    return np.fromfile(file, "<f4").astype(np.float32, copy=False).reshape(len(crops), size), file


def embed_crops_file(bundle: Bundle, crops_file: Path, folder: Path) -> np.ndarray:
    """Return the embeddings float32 (N, D) of a crops.npy; `folder` keeps them for the next run."""
    size, model = bundle.release.embedding_size, bundle.release.contract_id
    return resumable_embeddings(bundle.embed, size, crops_file, folder, model)[0]
