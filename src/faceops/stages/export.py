"""Stage export: write the ONNX bundle and prove its parity."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_folder
from faceops.config.params_file import read_params
from faceops.config.sections import Params, Train
from faceops.embedding.embedder import embed_crops
from faceops.embedding.model_file import load_model, trained_epochs
from faceops.release.bundle import Bundle
from faceops.release.contract import WeightFile
from faceops.release.embedder_graph import export_embedder
from faceops.release.export import measure_parity, require_parity, verifier_difference, write_bundle
from faceops.stages import run_stage
from faceops.verification.split_crops import data_seen, evenly_spread, read_split
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import Weight, read_catalogue
from faceops.weights.fetch import weight_path

OUT = Path("build/export")
MODEL = Path("build/train")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
THRESHOLDS = Path("build/verify/thresholds.json")
# What a release depends on: the section evaluate changes none of its bytes.
SECTIONS = {"validate", "crop", "split", "train", "verify", "export"}


def main() -> None:
    """Write build/export; a bundle whose parity fails never gets that name."""
    params = read_params(Path("params.yaml"))
    with atomic_folder(OUT) as trial:
        export(params, trial)


def export(params: Params, folder: Path) -> None:
    """Write the bundle `folder` and hold it against the models that it was made from.

    Raises:
        FaceOpsError: an input is absent, or what was written computes something else.
    """
    model = load_model(MODEL)
    verifier = Verifier.load(Path("build/verify/verifier.json"))
    catalogue = read_catalogue()
    write_bundle(
        folder,
        embedder=export_embedder(model, params.export.opset),
        embedder_weight=embedder_origin(params.train, trained_epochs(MODEL), catalogue),
        verifier=verifier,
        thresholds=read_thresholds(THRESHOLDS),
        detector=weight_path("yunet"),
        landmarks=weight_path("onet"),
        catalogue=catalogue,
        opset=params.export.opset,
        detector_size=params.crop.detector_size,
        detector_threshold=params.crop.detector_threshold,
        crop_mode=params.crop.mode,
        params=recorded_params(params),
        data=data_seen(FACES),
    )
    crops = evenly_spread(read_split(CROPS, FACES, "val"), params.export.parity_crops)
    bundle = Bundle.load(folder)
    embeddings = bundle.embed(crops)
    parity = measure_parity(embed_crops(model, crops), embeddings)
    require_parity(parity, params.export.max_difference)
    difference = verifier_difference(
        verifier, bundle.verify, embeddings, params.export.max_difference
    )
    print(
        f"torch and ONNX agree on {parity.crops} crops: largest difference "
        f"{parity.max_difference:.2g}, smallest cosine {parity.min_cosine:.7f}, largest "
        f"difference of a pair's probability {difference:.2g}"
    )


def recorded_params(params: Params) -> dict[str, dict[str, object]]:
    """Return the sections that the stage depends on, as plain values."""
    whole = params.model_dump(mode="json", by_alias=True)
    return {name: section for name, section in whole.items() if name in SECTIONS}


def embedder_origin(train: Train, epochs: int, catalogue: dict[str, Weight]) -> WeightFile:
    """Return licence and source of the embedder; its sha256 is known once it is written.

    `epochs` of training are in it: none when no epoch was better than the start.
    """
    if train.backbone == "pretrained":
        sface = catalogue["sface"]
        how = "trained further by this pipeline"
        if not epochs:
            how = "as published, not trained further"
        elif train.freeze:
            how = "its last layers trained further by this pipeline"
        source = f"sface: {sface.what}, {how}"
        return WeightFile(sha256="", licence=sface.licence, source=source)
    return WeightFile(
        sha256="",
        licence="as this project",
        source=f"{train.backbone} trained from scratch by this pipeline",
    )


def read_thresholds(path: Path) -> Thresholds:
    """Read what the verify stage wrote."""
    try:
        return Thresholds.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(f"{path} cannot be read ({reason}); run the verify stage.") from None


if __name__ == "__main__":
    run_stage(main)
