"""Stage evaluate: evaluate the exported bundle on the test people."""

from pathlib import Path

from faceops import stages
from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, write_file, write_json
from faceops.base.work import usable_cpus
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER
from faceops.release.evaluate.evaluate import evaluate_test_people
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.release.evaluate.report import model_card, write_report
from faceops.release.export import INT8, with_int8
from faceops.verification.embedded_faces import EmbeddedFaces, photo_sources, read_embedded
from faceops.weights import read_catalogue

OUT = Path("build/evaluate")
VERIFY, HISTORY = Path("build/verify/verify.json"), Path("build/train/history.csv")


def main() -> None:
    """Write build/evaluate: evaluation.json, CSV and PNG plots, report.html, model_card.md."""
    params = stages.stage_params()
    if params.evaluate.slices:
        slices = stages.INPUTS / Path(params.evaluate.slices).name
        settings = params.evaluate.model_copy(update={"slices": str(slices)})
        params = params.model_copy(update={"evaluate": settings})
    bundle = Bundle.load(stages.BUNDLE, own=True)
    model = MeasuredModel.from_bundle(bundle)
    faces = embedded_faces(bundle)
    sources = photo_sources(stages.MANIFEST, faces.paths)
    result = evaluate_test_people(model, faces, params, stages.DATA, usable_cpus(), sources)
    write_report(OUT, result, params.evaluate, verify=VERIFY, history=HISTORY)
    release = with_int8(bundle.release, INT8)
    write_file(OUT / "model_card.md", model_card(release, result.figures, read_catalogue()))
    write_json(OUT / "evaluation.json", result.figures)


def embedded_faces(bundle: Bundle) -> EmbeddedFaces:
    """Return the faces of the test people, with the embeddings of the embed stage.

    Raises FaceOpsError: an input is absent, or the embedder of `bundle` did not make the
    embeddings.
    """
    if sha256_file(stages.EMBED / EMBEDDER) != bundle.release.weights[EMBEDDER].sha256:
        raise FaceOpsError(
            f"{stages.EMBED} is not of the embedder in {bundle.folder}; run `dvc repro`."
        )
    return read_embedded(stages.FACES, "test", stages.EMBED / "embeddings.npy", stages.CROPS)


if __name__ == "__main__":
    stages.run_stage(main)
