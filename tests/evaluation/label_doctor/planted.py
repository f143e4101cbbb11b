"""People in a space of embeddings, and a verifier calibrated on others of their kind."""

import numpy as np

from faceops.verification.calibration import platt
from faceops.verification.pairs import score_table
from faceops.verification.verifier import Verifier

SIZE = 64


def draw(counts: list[int], seed: int, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings float32 (N, 64) and names; `counts` photos of each person, p000, ..."""
    random = np.random.default_rng(seed)
    centres = unit(random.normal(size=(len(counts), SIZE)))
    person = np.repeat(np.arange(len(counts)), counts)
    embeddings = unit(centres[person] + spread * random.normal(size=(len(person), SIZE)))
    return embeddings.astype(np.float32), np.array([f"p{code:03d}" for code in person])


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def calibrated() -> Verifier:
    """Return the plain distance, calibrated on people who are in no test."""
    embeddings, names = draw([4] * 150, seed=99)
    plain = Verifier(np.full(SIZE, -1, np.float32), 0.0, "distance")
    scores = plain.logit_matrix(embeddings, embeddings)
    upper = np.triu(np.ones_like(scores, bool), 1)
    same = names[:, None] == names[None]
    scale, bias = platt(score_table(scores[upper & same], scores[upper & ~same]))
    return Verifier((plain.weight * scale).astype(np.float32), bias, "distance")
