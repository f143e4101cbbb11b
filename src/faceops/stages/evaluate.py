"""Stage evaluate: evaluate the exported bundle on the test people."""

from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, write_file, write_json
from faceops.base.work import usable_cpus
from faceops.config.params_file import read_params
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER
from faceops.release.evaluate.evaluate import evaluate_test_people
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.release.evaluate.report import model_card, write_report
from faceops.release.export import with_int8
from faceops.stages import run_stage
from faceops.verification.embedded_faces import EmbeddedFaces, photo_sources, read_rows, read_split
from faceops.weights import read_catalogue

OUT, DATA = Path("build/evaluate"), Path("data")
INPUTS, EMBED = Path("build/validate/inputs"), Path("build/embed")
INT8 = Path("build/quantise/int8")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
MANIFEST = Path("build/validate/manifest.parquet")
VERIFY, HISTORY = Path("build/verify/verify.json"), Path("build/train/history.csv")


def main() -> None:
    """Write build/evaluate: evaluation.json, CSV and PNG plots, report.html, model_card.md."""
    params = read_params(Path("params.yaml"))
    if params.evaluate.slices:
        slices = INPUTS / Path(params.evaluate.slices).name
        settings = params.evaluate.model_copy(update={"slices": str(slices)})
        params = params.model_copy(update={"evaluate": settings})
    bundle = Bundle.load(Path("build/export"), own=True)
    model = MeasuredModel.from_bundle(bundle)
    faces = embedded_faces(bundle)
    sources = photo_sources(MANIFEST, faces.paths)
    result = evaluate_test_people(model, faces, params, DATA, usable_cpus(), sources)
    write_report(OUT, result, params.evaluate, verify=VERIFY, history=HISTORY)
    release = with_int8(bundle.release, INT8)
    write_file(OUT / "model_card.md", model_card(release, result.figures, read_catalogue()))
    write_json(OUT / "evaluation.json", result.figures)


def embedded_faces(bundle: Bundle) -> EmbeddedFaces:
    """Return the faces of the test people, with the embeddings of the embed stage.

    Raises:
        FaceOpsError: an input is absent, or the embedder of `bundle` did not make the embeddings.
    """
    if sha256_file(EMBED / EMBEDDER) != bundle.release.weights[EMBEDDER].sha256:
        raise FaceOpsError(f"{EMBED} is not of the embedder in {bundle.folder}; run `dvc repro`.")
    test = read_split(FACES, "test")
    embeddings = read_rows(EMBED / "embeddings.npy", test.rows)
    return EmbeddedFaces(embeddings, test.persons, test.paths, read_rows(CROPS, test.rows))


if __name__ == "__main__":
    run_stage(main)
