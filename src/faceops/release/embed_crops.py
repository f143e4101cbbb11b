"""Embed many crops with a bundle; an interrupted run continues where it stopped."""

import hashlib
from pathlib import Path

import numpy as np

from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.release.bundle import Bundle

_BLOCK = 64


def embed_crops(bundle: Bundle, crops_file: Path, folder: Path) -> np.ndarray:
    """Return L2-normalised embeddings float32 (N, D) of the crops uint8 (N, 112, 112, 3).

    They are kept in `folder`/embeddings-<key>.f32, rows as they come; the key is the release's
    contract and the bytes of `crops_file`, so nothing is embedded twice and nothing stale is
    used. Files of other keys are removed.
    """
    crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    size = bundle.release.embedding_size
    told = f"{bundle.release.contract_id} {sha256_file(crops_file)}"
    file = folder / f"embeddings-{hashlib.sha256(told.encode()).hexdigest()[:16]}.f32"
    folder.mkdir(parents=True, exist_ok=True)
    for other in set(folder.glob("embeddings-*.f32")) - {file}:
        other.unlink()
    with file.open("ab") as kept:
        done = kept.tell() // (4 * size)
        kept.truncate(done * 4 * size)  # a row that was cut off
        for start in track(range(done, len(crops), _BLOCK), "embedding blocks of faces"):
            block = bundle.embed(np.asarray(crops[start : start + _BLOCK]))
            kept.write(block.astype("<f4").tobytes())
            kept.flush()
    return np.fromfile(file, "<f4").astype(np.float32, copy=False).reshape(len(crops), size)
