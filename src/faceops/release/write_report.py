"""The report of an evaluation: figures, curves, pictures and one page, of any model and data."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.evaluation.crop_rows import CropRows
from faceops.evaluation.curves import CURVES, write_curves
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.mistake_sheets import (
    Pair,
    mistaken_pairs,
    write_mistake_sheets,
    write_mistakes_table,
)
from faceops.evaluation.mistakes import worst_mistakes
from faceops.evaluation.plots.similarity_map import draw_similarity_map
from faceops.evaluation.plots.training import read_history
from faceops.evaluation.plots.write_plots import write_plots, write_promise_plot
from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.page import page
from faceops.faces.tile_sheet import write_sheet
from faceops.release.about_model import about_model
from faceops.release.measured_model import MeasuredModel
from faceops.weights.catalogue import read_catalogue

REPORT, MISTAKES = "report.html", "mistakes.csv"
PICTURES = "pictures"
MAP = "similarity_map.png"
# Of an earlier evaluation in the same folder; the page shows what it finds there.
_DRAWN = (
    *("roc.png", "det.png", "scores.png", "cmc.png", "calibration.png", "promise.png", "loss.png"),
    *(MAP, "mistakes_two_people.png", "mistakes_one_person.png"),
)


def write_report(
    folder: Path,
    model: MeasuredModel,
    figures: dict[str, Any],
    *,
    faces: EmbeddedFaces,
    crops: np.ndarray | CropRows | None,
    evaluation: Evaluation | None,
    fars: Sequence[float],
    seed: int,
    verify: Path | None = None,
    history: Path | None = None,
) -> None:
    """Write report.html to `folder`, the tables behind it, and pictures in a folder there.

    Args:
        folder: made when absent; what an earlier report left there is replaced.
        model: what was evaluated.
        figures: as in evaluation.json.
        faces: that were evaluated.
        crops: of them, (N, 112, 112, 3); without, no photos are shown.
        evaluation: the curves behind the figures, where all protocols ran; else none are drawn.
        fars: false accept rates to mark.
        seed: of the people on the map.
        verify: verify.json of the pipeline that made the model, where it is at hand.
        history: history.csv of its training; a file that is not there is passed over.

    Raises:
        FaceOpsError: `folder` cannot be written, or `verify` or `history` is damaged.
    """
    rows = read_history(history) if history is not None and history.exists() else []
    chosen = None if verify is None else _read(verify)
    try:
        pictures = folder / PICTURES
        pictures.mkdir(parents=True, exist_ok=True)
        for old in (
            *(pictures / name for name in _DRAWN),
            *(folder / name for name in (MISTAKES, *CURVES)),
        ):
            old.unlink(missing_ok=True)
        pairs: list[Pair] = []
        if evaluation is not None:
            pairs = _pictures(folder, model, evaluation, faces, crops, fars, seed, rows)
        else:
            write_promise_plot(figures.get("promise", []), pictures)
        facts = Facts(about_model(model, read_catalogue()), figures, model.thresholds, chosen, rows)
        write_file(folder / REPORT, page(facts, pairs, pictures))
    except OSError as error:
        raise FaceOpsError(f"{folder} cannot be written ({error.strerror}).") from None


def _pictures(
    folder: Path,
    model: MeasuredModel,
    evaluation: Evaluation,
    faces: EmbeddedFaces,
    crops: np.ndarray | CropRows | None,
    fars: Sequence[float],
    seed: int,
    history: list[dict[str, str]],
) -> list[Pair]:
    write_curves(evaluation, folder)
    pictures = folder / PICTURES
    write_plots(evaluation, model.thresholds, fars, pictures, history)
    mistakes = worst_mistakes(faces, model.verifier, evaluation.pairs)
    pairs = mistaken_pairs(faces, crops, mistakes, calibrated=model.thresholds is not None)
    write_mistakes_table(pairs, folder / MISTAKES)
    write_mistake_sheets(pairs, pictures)
    map_ = draw_similarity_map(faces, crops, seed)
    if map_ is not None:
        write_sheet(map_, pictures / MAP)
    return pairs


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); run the verify stage.") from None
    return content
