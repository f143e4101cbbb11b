"""Evaluate a bundle: its own ONNX files do the embedding and the verifying."""

from pathlib import Path

import numpy as np

from faceops.config.sections import Evaluate
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.progress import track
from faceops.release.bundle import Bundle
from faceops.verification.split_crops import read_split

_BLOCK = 256


def evaluate_bundle(
    bundle: Bundle, crops_file: Path, faces_file: Path, settings: Evaluate, split: str = "test"
) -> Evaluation:
    """Run all protocols with `bundle` on the people of `split`.

    Raises:
        FaceOpsError: the files are absent or do not fit, or hold too few people or photos.
    """
    people = read_split(crops_file, faces_file, split)
    starts = range(0, len(people.crops), _BLOCK)
    parts = [np.zeros((0, bundle.release.embedding_size), np.float32)]
    parts += [bundle.embed(people.crops[i : i + _BLOCK]) for i in track(starts, "embedding")]
    return evaluate(
        np.concatenate(parts), people.persons, bundle.verify, bundle.release.thresholds, settings
    )
