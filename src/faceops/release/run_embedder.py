"""Run an embedder of this project's over many crops."""

import numpy as np
import onnxruntime

EMBED_BATCH = 8  # on a CPU as fast a crop as 32, with half the memory


def run_embedder(
    session: onnxruntime.InferenceSession, crops: np.ndarray, embedding_size: int
) -> np.ndarray:
    """Return embeddings float32 (N, embedding_size) of crops uint8 (N, 112, 112, 3) RGB.

    Batches have one of four sizes (the last one is padded to a power of two), so that ONNX
    Runtime's memory stays constant however many crops are embedded.
    """
    result = np.empty((len(crops), embedding_size), np.float32)
    for start in range(0, len(crops), EMBED_BATCH):
        part = np.ascontiguousarray(crops[start : start + EMBED_BATCH])
        padded = _padded(part, 1 << (len(part) - 1).bit_length())
        rows = session.run(None, {"crops": padded})[0]
        result[start : start + len(part)] = rows[: len(part)]
    return result


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    if len(rows) == size:
        return rows
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])
