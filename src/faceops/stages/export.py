"""Stage export: write the ONNX bundle and check that it computes what its parts do."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder, sha256_file, stage_output
from faceops.config.sections import Params
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER, Alignment, WeightFile
from faceops.release.export import (
    AS_PUBLISHED,
    MIRRORED,
    BundleModels,
    is_sface_as_published,
    load_network,
    write_bundle,
)
from faceops.stages import BUNDLE, EMBED, FACES, INPUTS, read_json, run_stage, stage_params
from faceops.verification.embedded_faces import evenly_spread, read_rows, read_split
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier, Verify
from faceops.weights import Weight, read_catalogue, weight_path

THRESHOLDS = Path("build/verify/thresholds.json")
# Not evaluate and gate: they do not change the release.
SECTIONS = {"validate_", "crop", "split", "train", "verify", "export"}


def main() -> None:
    """Write build/export, or nothing if the bundle differs from what it was made of."""
    params = stage_params()
    with atomic_folder(BUNDLE) as trial:
        export(params, trial)


def export(params: Params, folder: Path) -> None:
    """Write the bundle `folder` and compare it with the models that it was made of.

    Raises FaceOpsError: an input is absent, or the bundle computes something else.
    """
    embedder = EMBED / EMBEDDER
    epochs = read_json(EMBED / "embed.json")["epochs"]
    verifier = Verifier.load(Path("build/verify/verifier.json"))
    catalogue = read_catalogue()
    with stage_output(THRESHOLDS):
        thresholds = Thresholds.model_validate_json(THRESHOLDS.read_text("utf-8"))
    models = BundleModels(
        embedder=load_network(embedder),
        embedder_weight=embedder_origin(params, epochs, catalogue),
        verifier=verifier,
        thresholds=thresholds,
        detector=weight_path("yunet"),
        landmarks=weight_path("onet"),
    )
    crop = params.crop
    release = write_bundle(
        folder,
        models,
        Alignment.current(crop.detector_size, crop.detector_threshold, crop.mode),
        catalogue,
        opset=params.export.opset,
        params=params.model_dump(mode="json", by_alias=True, include=SECTIONS),
        data=data_seen(FACES, read_json(INPUTS / "sources.json")),
    )
    if release.weights[EMBEDDER].sha256 != sha256_file(embedder):
        raise FaceOpsError(f"{folder / EMBEDDER} differs from {embedder}; do not release it.")
    rows = evenly_spread(read_split(FACES, "val").rows, params.export.parity_crops)
    embeddings = read_rows(EMBED / "embeddings.npy", rows)
    verify = Bundle.load(folder, own=True).verify
    difference = verifier_difference(verifier, verify, embeddings, params.export.max_difference)
    print(
        f"export: verifier.onnx differs from verifier.json by at most {difference:.2g} in the "
        f"probability of pairs of {len(rows)} crops"
    )


def verifier_difference(
    verifier: Verifier, verify: Verify, embeddings: np.ndarray, max_difference: float
) -> float:
    """Return the largest difference in probability of `verify` (verifier.onnx) from `verifier`.

    On all pairs of rows of `embeddings`, float32 (N, D).

    Raises FaceOpsError: it is more than `max_difference`, or NaN.
    """
    rows = np.arange(len(embeddings))
    first, second = embeddings[np.repeat(rows, len(rows))], embeddings[np.tile(rows, len(rows))]
    difference = float(np.abs(verify(first, second) - verifier.probability(first, second)).max())
    if not difference <= max_difference:
        raise FaceOpsError(
            f"verifier.json and verifier.onnx differ by {difference:.2g} in probability on pairs "
            f"of {len(rows)} crops, more than export.max_difference = {max_difference:g}; do not "
            "release this export."
        )
    return difference


def data_seen(faces: Path, sources: dict[str, Any]) -> dict[str, Any]:
    """Return what the model was made of: sources, counts per split, the hash of its faces."""
    table = pq.read_table(faces, columns=["person", "split"])
    groups = table.group_by("split").aggregate([("person", "count_distinct"), ("person", "count")])
    counts = {
        row["split"]: {"people": row["person_count_distinct"], "photos": row["person_count"]}
        for row in groups.to_pylist()
    }
    seen: dict[str, Any] = {"faces_sha256": sha256_file(faces), "splits": counts}
    return seen | ({"sources": sources} if sources else {})


def embedder_origin(params: Params, epochs: int, catalogue: dict[str, Weight]) -> WeightFile:
    """Return licence and source of the embedder; `write_bundle` fills in the sha256.

    `epochs`: how many epochs of training are in its weights; 0 if the start was kept.
    """
    train, share = params.train, params.export.dlib_share
    licence, source = "as this project", f"{train.backbone} trained from scratch by this pipeline"
    if train.backbone == "pretrained":
        sface = catalogue["sface"]
        how = "trained further by this pipeline"
        if is_sface_as_published(train.backbone, train.start, epochs):
            how = AS_PUBLISHED
        elif train.freeze:
            how = "its last layers trained further by this pipeline"
        licence, source = sface.licence, f"sface: {sface.what}, {how}"
    if params.export.mirrored:
        source += MIRRORED
    if params.export.centred:
        source += ", its embeddings centred"
    if share:
        dlib = catalogue["dlib"]
        licence += f" and {dlib.licence}"
        source += f"; dlib: {dlib.what}, as published, its share in the cosine {share:g}"
    return WeightFile(sha256="", licence=licence, source=source)


if __name__ == "__main__":
    run_stage(main)
