"""Stage export: write the ONNX bundle and prove its parity."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from faceops.config import read_params
from faceops.embedding.embed_crops import embed_crops
from faceops.embedding.model_file import load_model, trained_epochs
from faceops.errors import FaceOpsError
from faceops.photos.content_hash import sha256_file
from faceops.release.bundle import Bundle
from faceops.release.contract import WeightFile
from faceops.release.export import write_bundle
from faceops.release.parity import measure_parity, require_parity
from faceops.release.torch_export import export_embedder
from faceops.stages import run_stage
from faceops.verification.split_crops import SplitCrops, read_split
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import Weight, read_catalogue
from faceops.weights.settings import weight_path

OUT = Path("build/export")
MODEL = Path("build/train")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
THRESHOLDS = Path("build/verify/thresholds.json")


def main() -> None:
    """Write build/export; it stays as it was where parity fails."""
    params = read_params(Path("params.yaml"))
    model = load_model(MODEL)
    catalogue = read_catalogue()
    trial = OUT.with_name(OUT.name + ".trial")
    write_bundle(
        trial,
        embedder=export_embedder(model, params.export.opset),
        embedder_weight=embedder_origin(params.train.backbone, trained_epochs(MODEL), catalogue),
        verifier=Verifier.load(Path("build/verify/verifier.json")),
        thresholds=read_thresholds(THRESHOLDS),
        detector=weight_path("yunet"),
        landmarks=weight_path("onet"),
        catalogue=catalogue,
        opset=params.export.opset,
        detector_size=params.crop.detector_size,
        detector_threshold=params.crop.detector_threshold,
        crop_mode=params.crop.mode,
        params=params.model_dump(mode="json", by_alias=True),
        data=data_seen(FACES),
    )
    crops = some_crops(read_split(CROPS, FACES, "val"), params.export.parity_crops)
    parity = measure_parity(embed_crops(model, crops), Bundle.load(trial).embed(crops))
    require_parity(parity, params.export.max_difference)
    print(
        f"torch and ONNX agree on {parity.crops} crops: largest difference "
        f"{parity.max_difference:.2g}, smallest cosine {parity.min_cosine:.7f}"
    )
    replace_folder(trial, OUT)


def embedder_origin(backbone: str, epochs: int, catalogue: dict[str, Weight]) -> WeightFile:
    """Return licence and source of the embedder; its sha256 is known once it is written.

    `epochs` of training are in it: none when no epoch was better than the start.
    """
    if backbone == "pretrained":
        sface = catalogue["sface"]
        how = "trained further by this pipeline" if epochs else "as published, not trained further"
        source = f"sface: {sface.what}, {how}"
        return WeightFile(sha256="", licence=sface.licence, source=source)
    return WeightFile(
        sha256="",
        licence="as this project",
        source=f"{backbone} trained from scratch by this pipeline",
    )


def read_thresholds(path: Path) -> Thresholds:
    """Read what the verify stage wrote."""
    try:
        return Thresholds.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{path} cannot be read ({reason}); run the verify stage.") from None


def data_seen(faces: Path, sources: Path = Path("data/sources.json")) -> dict[str, Any]:
    """Return what the model was trained on: sources, counts a split, the hash of its faces."""
    table = pq.read_table(faces, columns=["person", "split"])
    persons = np.array(table["person"].to_pylist(), dtype=str)
    split = np.array(table["split"].to_pylist(), dtype=str)
    counts = {
        name: {
            "people": len(np.unique(persons[split == name])),
            "photos": int((split == name).sum()),
        }
        for name in ("train", "val", "test")
    }
    seen: dict[str, Any] = {"faces_sha256": sha256_file(faces), "splits": counts}
    if sources.is_file():
        seen["sources"] = json.loads(sources.read_text("utf-8"))
    return seen


def some_crops(split: SplitCrops, count: int) -> np.ndarray:
    """Return `count` crops (fewer if there are fewer) evenly spread over the split."""
    rows = np.unique(np.linspace(0, len(split.crops) - 1, count).round().astype(int))
    return split.crops[rows]


def replace_folder(source: Path, target: Path) -> None:
    """Put the folder `source` in the place of `target`."""
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)


if __name__ == "__main__":
    run_stage(main)
