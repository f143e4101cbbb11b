"""The report of an evaluation (figures, curves, pictures, one HTML page) and the model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, stage_output, write_file
from faceops.config.sections import Evaluate
from faceops.embedding.training.figures import draw_similarity_map
from faceops.evaluation.evaluate import CURVES, Evaluation, write_curves
from faceops.evaluation.plots import read_history, write_plots
from faceops.evaluation.report.document import About, Facts, Section, Text, markdown
from faceops.evaluation.report.report import (
    CARD,
    MistakenPair,
    page,
    sections,
    worst_mistakes,
    write_mistake_sheets,
    write_mistakes_table,
)
from faceops.faces.contact_sheets import write_sheet
from faceops.release.contract import EMBEDDER, Release
from faceops.release.evaluate.evaluate import EvaluationResult
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.release.export import AS_PUBLISHED
from faceops.weights import Weight, read_catalogue

_SPLIT_USE = {
    "val": "Epoch and verifier chosen, probabilities calibrated and thresholds measured on",
    "test": "Not trained on, used for the figures only",
}


def about_model(model: MeasuredModel, catalogue: Mapping[str, Weight]) -> About:
    """Describe a release by release.json, an embedder from elsewhere by adapter.json."""
    if model.bundle is not None:
        return about_release(model.bundle.release, catalogue, model.name)
    source = model.source or "not stated"
    return About(
        name=model.name,
        use=[f"An embedder made elsewhere, to be compared with releases. Its source: {source}."],
        seen=["What it was trained on is not known."],
        licences=[f"The embedder's licence is not stated; its source: {source}."],
        lineage=[("model", model.name), ("identity of the embedder", model.identity)],
    )  # fmt: skip


def about_release(
    release: Release, catalogue: Mapping[str, Weight], name: str = "FaceOps release"
) -> About:
    """Describe a release; `catalogue` states the terms of each outside weight."""
    verifier = "a fitted linear layer on squared differences"
    if release.verifier_kind != "linear":
        verifier = (
            "the plain distance, calibrated: a fitted layer did not beat it on validation people"
        )
    use = [
        "Naming people in one's own photo folders, where those people have agreed to be enrolled. "
        f"A face detector, landmarks, an embedding of {release.embedding_size} numbers and a pair "
        f"verifier ({verifier}), as ONNX files."
    ]
    if release.int8 is not None:
        measured = release.int8.measured
        use.append(
            f"With --precision int8 it embeds by {release.int8.file}, which is smaller and faster: "
            f"TAR at FAR {measured.far:g} {measured.tar_int8:.4f} in place of "
            f"{measured.tar_float32:.4f} on {measured.people:,} validation people, mean cosine to "
            f"the float32 embedding {measured.mean_cosine:.4f}; contract id "
            f"{release.int8.contract_id}, its own thresholds. The figures below are those of "
            "float32."
        )
    use.append(
        "Not for: surveillance, access control, judging who a stranger is, evidence, or any "
        "decision about a person that nobody checks."
    )
    weights, licences = sorted(release.weights.items()), []
    for file, weight in weights:
        names = [part.partition(":")[0] for part in weight.source.split("; ")]
        terms = "".join(f" {catalogue[name].terms}" for name in names if name in catalogue)
        licences.append(f"{file}: {weight.licence}; {weight.source}.{terms}")
    lineage = [
        ("contract id, which stored embeddings pin", release.contract_id),
        ("git commit", release.git_commit),
        ("sha256 of dvc.lock", release.dvc_lock_sha256),
        ("sha256 of the faces it was made from", release.data.get("faces_sha256", "not stated")),
        *((f"sha256 of {file}", weight.sha256) for file, weight in weights),
    ]
    return About(name=name, use=use, seen=_seen(release), licences=licences, lineage=lineage)


def _seen(release: Release) -> list[str]:
    source = release.weights[EMBEDDER].source
    items = [f"Embedder: {source}."]
    splits = release.data.get("splits", {})
    trained = "Verifier fitted on" if AS_PUBLISHED in source else "Trained on"
    for name, use in ({"train": trained} | _SPLIT_USE).items():
        if name in splits:
            count = splits[name]
            items.append(f"{use}: {count['people']:,} people, {count['photos']:,} photos.")
    for name, stated in sorted(release.data.get("sources", {}).items()):
        terms = stated.get("terms", "") if isinstance(stated, dict) else ""
        items.append(f"Photos from {name}{': ' if terms else '.'}{terms}")
    return [*items, "Detector and landmarks are outside weights as published."]


REPORT, MISTAKES = "report.html", "mistakes.csv"
PICTURES = "pictures"
MAP = "similarity_map.png"
# All that a report may show: pictures of an earlier one in the same folder are removed.
_PICTURES = (
    *("roc.png", "det.png", "scores.png", "cmc.png", "calibration.png", "promise.png", "loss.png"),
    *(MAP, "mistakes_two_people.png", "mistakes_one_person.png"),
)


def write_report(
    folder: Path,
    result: EvaluationResult,
    settings: Evaluate,
    *,
    verify: Path | None = None,
    history: Path | None = None,
) -> None:
    """Write report.html to `folder`, the tables behind it, and pictures in a folder there.

    Args:
        folder: created if absent; an earlier report there is replaced.
        result: without its curves no curves are drawn, without its crops no photos are shown.
        settings: `far` is marked in curves, `seed` chooses the people of the similarity map.
        verify: verify.json of the pipeline that made the model.
        history: history.csv of its training; it may not exist.

    Raises:
        FaceOpsError: `folder` cannot be written, or `verify` or `history` is damaged.
    """
    model, figures = result.model, result.figures
    rows = read_history(history) if history is not None and history.exists() else []
    chosen = None
    if verify is not None:
        with stage_output(verify):
            chosen = read_json_object(verify)
    pictures = folder / PICTURES
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        old = [pictures / name for name in _PICTURES]
        for path in (*old, *(folder / name for name in (MISTAKES, *CURVES))):
            path.unlink(missing_ok=True)
        pairs: list[MistakenPair] = []
        fpir_rows = figures.get("promise", [])
        write_plots(result.curves, model.thresholds, settings.far, fpir_rows, pictures, rows)
        if result.curves is not None:
            write_curves(result.curves, folder)
            pairs = _draw_faces(folder, result, result.curves, settings.seed)
        facts = Facts(about_model(model, read_catalogue()), figures, model.thresholds, chosen, rows)
        write_file(folder / REPORT, page(facts, pairs, pictures))
    except OSError as error:
        raise FaceOpsError(f"{folder} cannot be written ({error.strerror}).") from None


def _draw_faces(
    folder: Path, result: EvaluationResult, curves: Evaluation, seed: int
) -> list[MistakenPair]:
    """Draw and list the worst mistakes, which are returned, and draw the similarity map."""
    model, faces, crops = result.model, result.faces, result.crops
    pictures = folder / PICTURES
    calibrated = model.thresholds is not None
    pairs = worst_mistakes(faces, crops, model.verifier, curves.pairs, calibrated=calibrated)
    write_mistakes_table(pairs, folder / MISTAKES)
    write_mistake_sheets(pairs, pictures)
    if crops is not None:
        similarity_map = draw_similarity_map(faces.embeddings, faces.persons, crops, seed)
        if similarity_map is not None:
            write_sheet(similarity_map, pictures / MAP)
    return pairs


def model_card(release: Release, figures: dict[str, Any], catalogue: dict[str, Weight]) -> str:
    """Return the card as Markdown.

    `figures` are those of `evaluate_embeddings`; `catalogue` states the terms of each outside
    weight. The same arguments give the same text.
    """
    facts = Facts(about_release(release, catalogue), figures, release.thresholds)
    pinned = "Whatever stores embeddings of this release pins it."
    which = Section(
        "which", "Which release", [Text(f"Contract id {release.contract_id}. {pinned}")]
    )
    return markdown("Model card: FaceOps release", [which, *sections(facts, CARD)])
