"""The same measure for classifiers and triplets: whose mean embedding is nearest?"""

import numpy as np


def class_centres(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return float32 (C, D): the mean direction of each class 0 .. C - 1.

    `embeddings` float32 (N, D), L2-normalised; `labels` int (N,), every class at least once.
    """
    sums = np.zeros((labels.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(sums, labels, embeddings)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def nearest(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return int (N,): the class of the nearest of `centres` (C, D), all of length 1."""
    return (embeddings @ centres.T).argmax(1)
