"""Evaluate a model on the pipeline's own people: its own files do the embedding and verifying."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import rounded
from faceops.base.progress import track
from faceops.config.sections import Evaluate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation, evaluate
from faceops.evaluation.protocols.robustness import measure_robustness
from faceops.evaluation.protocols.slices import measure_slices, read_attributes
from faceops.release.bundle import Bundle
from faceops.release.embeddings import resumable_embeddings
from faceops.release.evaluate.measured_model import MeasuredModel, without_probabilities
from faceops.verification.split_faces import read_rows, read_split

DATA = Path("data")
_BLOCK = 256


def embed_split(
    model: MeasuredModel, crops_file: Path, faces_file: Path, split: str = "test"
) -> EmbeddedFaces:
    """Return the faces of the people of `split`, with their crops, embedded by `model`.

    Raises:
        FaceOpsError: the files are absent or do not fit, or nobody is in `split`.
    """
    people = read_split(faces_file, split)
    crops = read_rows(crops_file, people.rows)
    blocks = range(0, len(crops), _BLOCK)
    parts = [model.embed(crops[start : start + _BLOCK]) for start in track(blocks, "embedding")]
    return EmbeddedFaces(np.concatenate(parts), people.persons, people.paths, crops)


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


def embed_crops(bundle: Bundle, crops_file: Path, folder: Path) -> np.ndarray:
    """Return the embeddings float32 (N, D) of a crops.npy; `folder` keeps them for the next run."""
    return resumable_embeddings(
        bundle.embed, bundle.release.embedding_size, crops_file, folder, bundle.release.contract_id
    )[0]
