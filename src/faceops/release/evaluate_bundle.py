"""Evaluate a model on the pipeline's own people: its own files do the embedding and verifying."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.config.sections import Evaluate
from faceops.evaluation.attributes import read_attributes
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.figures import rounded
from faceops.evaluation.robustness import measure_robustness
from faceops.evaluation.slices import measure_slices
from faceops.release.measured_model import MeasuredModel
from faceops.release.uncalibrated import without_probabilities
from faceops.verification.split_crops import read_split

DATA = Path("data")
_BLOCK = 256


def embed_split(
    model: MeasuredModel, crops_file: Path, faces_file: Path, split: str = "test"
) -> EmbeddedFaces:
    """Return the faces of the people of `split`, with their crops, embedded by `model`.

    Raises:
        FaceOpsError: the files are absent or do not fit, or nobody is in `split`.
    """
    people = read_split(crops_file, faces_file, split)
    starts = range(0, len(people.crops), _BLOCK)
    parts = [np.zeros((0, model.embedding_size), np.float32)]
    parts += [model.embed(people.crops[i : i + _BLOCK]) for i in track(starts, "embedding")]
    return EmbeddedFaces(np.concatenate(parts), people.persons, people.paths, people.crops)


def evaluate_model(
    model: MeasuredModel,
    faces: EmbeddedFaces,
    settings: Evaluate,
    data: Path = DATA,
    threads: int = 1,
) -> Evaluation:
    """Run all protocols on `faces`, and robustness and slices where `settings` ask for them.

    Args:
        faces: as `embed_split` gives them.
        data: the folder that their paths start from; opened for robustness only.
        threads: photos altered at once.

    Raises:
        FaceOpsError: too few people or photos, a photo is not there, or the CSV of groups is
            wrong.
    """
    stated = read_attributes(Path(settings.slices)) if settings.slices else None
    attributes = stated.of(faces) if stated else None
    evaluation = evaluate(faces, model.verifier, model.thresholds, settings)
    figures: dict[str, Any] = dict(evaluation.figures)
    if settings.robustness_photos:
        figures["robustness"] = _robustness(model, faces, settings, data, threads)
    if attributes is not None:
        figures["slices"] = measure_slices(
            faces, attributes, model.verifier, model.thresholds, settings.seed
        )
    if model.thresholds is None:
        figures = without_probabilities(figures, model.name)
    return replace(evaluation, figures=rounded(figures))


def _robustness(
    model: MeasuredModel, faces: EmbeddedFaces, settings: Evaluate, data: Path, threads: int
) -> list[dict[str, Any]]:
    if model.crops.mode != "aligned":
        raise FaceOpsError(
            f"{model.name} was trained on crops of mode {model.crops.mode!r} and finds no faces in "
            "altered photos; set evaluate.robustness_photos to 0, or crop.mode to aligned."
        )
    if not data.is_dir():
        raise FaceOpsError(
            f"{data} is not here, and robustness alters its photos; run `dvc pull`, or set "
            "evaluate.robustness_photos to 0."
        )
    return measure_robustness(
        faces,
        model.verifier,
        model.thresholds,
        data=data,
        finder=model.finder,
        embed=model.embed,
        settings=model.crops,
        photos=settings.robustness_photos,
        seed=settings.seed,
        workers=threads,
    )
