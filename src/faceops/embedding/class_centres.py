"""The mean direction of each person's embeddings."""

import numpy as np


def class_centres(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return float32 (C, D), each of length 1: the centre of each class 0 .. C - 1.

    `embeddings` float32 (N, D), L2-normalised; `labels` int (N,), every class at least once. A
    class whose embeddings cancel out keeps a centre of length below 1.
    """
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, labels, embeddings)
    centres: np.ndarray = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-6)
    return centres
