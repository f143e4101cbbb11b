"""The report of an evaluation: figures, curves, pictures and one page, of any model and data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file
from faceops.embedding.similarity_map import draw_similarity_map
from faceops.evaluation.curves import CURVES, write_curves
from faceops.evaluation.embedded_faces import CropRows, EmbeddedFaces
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.mistakes import (
    Pair,
    mistaken_pairs,
    worst_mistakes,
    write_mistake_sheets,
    write_mistakes_table,
)
from faceops.evaluation.plots import read_history, write_plots, write_promise_plot
from faceops.evaluation.report.document import About, Facts, Section, Text, markdown
from faceops.evaluation.report.report import card_sections, page
from faceops.faces.contact_sheets import write_sheet
from faceops.release.contract import EMBEDDER, Release
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.weights.catalogue import Weight, read_catalogue

_SPLIT_USE = {
    "val": "Epoch and verifier chosen, probabilities calibrated and thresholds measured on",
    "test": "Not seen, used for the figures only",
}
_AS_PUBLISHED = "not trained further"  # words of the export stage, see stages/export.py


def about_model(model: MeasuredModel, catalogue: Mapping[str, Weight]) -> About:
    """Describe a release by its contract, an embedder made elsewhere by what its adapter says."""
    if model.bundle is not None:
        return about_release(model.bundle.release, catalogue, model.name)
    source = model.source or "not stated"
    return About(
        name=model.name,
        use=[f"An embedder made elsewhere, measured beside releases. Its source: {source}."],
        seen=["What it was trained on is not known here."],
        licences=[f"The embedder's licence is not stated here; its source: {source}."],
        lineage=[("model", model.name), ("identity of the embedder", model.identity)],
    )  # fmt: skip


def about_release(
    release: Release, catalogue: Mapping[str, Weight], name: str = "FaceOps release"
) -> About:
    """Describe a release; `catalogue` states the terms of each outside weight."""
    return About(
        name=name,
        use=_use(release),
        seen=_seen(release),
        licences=_licences(release, catalogue),
        lineage=_lineage(release),
    )


def _use(release: Release) -> list[str]:
    return [
        "Naming people in one's own photo folders, where those people have agreed to be enrolled. "
        f"A face detector, landmarks, an embedding of {release.embedding_size} numbers and a pair "
        f"verifier ({_kind(release)}), as ONNX files.",
        *_int8(release),
        "Not for: surveillance, access control, judging who a stranger is, evidence, or any "
        "decision about a person that nobody checks.",
    ]


def _int8(release: Release) -> list[str]:
    if release.int8 is None:
        return []
    told = release.int8.measured
    return [
        f"With --precision int8 it embeds by {release.int8.file}, which is smaller and faster: TAR "
        f"at FAR {told.far:g} {told.tar_int8:.4f} in place of {told.tar_float32:.4f} on "
        f"{told.people:,} validation people, mean cosine to the float32 embedding "
        f"{told.mean_cosine:.4f}; contract id {release.int8.contract_id}, thresholds of its own. "
        "The figures below are those of float32."
    ]


def _kind(release: Release) -> str:
    if release.verifier_kind == "linear":
        return "a fitted linear layer on squared differences"
    return "the plain distance, calibrated: a fitted layer did not beat it on validation people"


def _seen(release: Release) -> list[str]:
    embedder = release.weights[EMBEDDER]
    items = [f"Embedder: {embedder.source}."]
    splits = release.data.get("splits", {})
    kept = embedder.source.endswith(_AS_PUBLISHED)
    uses = {"train": "Verifier fitted on" if kept else "Trained on"} | _SPLIT_USE
    for name, use in uses.items():
        if name in splits:
            count = splits[name]
            items.append(f"{use}: {count['people']:,} people, {count['photos']:,} photos.")
    for name, source in sorted(release.data.get("sources", {}).items()):
        terms = source.get("terms", "") if isinstance(source, dict) else ""
        items.append(f"Photos from {name}{': ' if terms else '.'}{terms}")
    items.append("Detector and landmarks are outside weights as published.")
    return items


def _licences(release: Release, catalogue: Mapping[str, Weight]) -> list[str]:
    items = []
    for file, weight in sorted(release.weights.items()):
        entry = catalogue.get(weight.source.partition(":")[0])
        terms = f" {entry.terms}" if entry else ""
        items.append(f"{file}: {weight.licence}; {weight.source}.{terms}")
    return items


def _lineage(release: Release) -> list[tuple[str, str]]:
    return [
        ("contract id, which stored embeddings pin", release.contract_id),
        ("git commit", release.git_commit),
        ("sha256 of dvc.lock", release.dvc_lock_sha256),
        ("sha256 of the faces it was made from", release.data.get("faces_sha256", "not stated")),
        *((f"sha256 of {file}", weight.sha256) for file, weight in sorted(release.weights.items())),
    ]


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
    if crops is not None:
        similarity_map = draw_similarity_map(faces.embeddings, faces.persons, crops, seed)
        if similarity_map is not None:
            write_sheet(similarity_map, pictures / MAP)
    return pairs


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); run the verify stage.") from None
    return content


def model_card(release: Release, figures: dict[str, Any], catalogue: dict[str, Weight]) -> str:
    """Return the card as Markdown.

    `figures` are those of `faceops.evaluation.evaluate`; `catalogue` states the terms of each
    outside weight. The same arguments give the same text.
    """
    facts = Facts(about_release(release, catalogue), figures, release.thresholds)
    contract = (
        f"Contract id {release.contract_id}. Whatever stores embeddings of this release pins it."
    )
    which = Section("which", "Which release", [Text(contract)])
    return markdown("Model card: FaceOps release", [which, *card_sections(facts)])
