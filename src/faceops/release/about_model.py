"""What a model is, in the words of its report and its card."""

from collections.abc import Mapping

from faceops.evaluation.report.facts import About
from faceops.release.contract import EMBEDDER, Release
from faceops.release.measured_model import MeasuredModel
from faceops.weights.catalogue import Weight

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
