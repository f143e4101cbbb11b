"""Stage evaluate: score the exported bundle on people whom nothing has seen."""

from pathlib import Path

from faceops.base.files import write_file, write_json
from faceops.base.parallel import usable_cpus
from faceops.config.params_file import read_params
from faceops.release.bundle import Bundle
from faceops.release.evaluate.evaluate_bundle import embed_split, evaluate_model
from faceops.release.evaluate.measured_model import of_bundle
from faceops.release.evaluate.write_report import model_card, write_report
from faceops.release.int8.offer import with_int8
from faceops.stages import run_stage
from faceops.weights.catalogue import read_catalogue

OUT = Path("build/evaluate")
INT8 = Path("build/quantise/int8")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")
VERIFY, HISTORY = Path("build/verify/verify.json"), Path("build/train/history.csv")


def main() -> None:
    """Write build/evaluate: evaluation.json, CSV and PNG plots, report.html, model_card.md."""
    params = read_params(Path("params.yaml"))
    bundle = Bundle.load(Path("build/export"), threads=2)
    model = of_bundle(bundle)
    faces = embed_split(model, CROPS, FACES)
    evaluation = evaluate_model(model, faces, params.evaluate, threads=usable_cpus())
    write_report(
        OUT,
        model,
        evaluation.figures,
        faces=faces,
        crops=faces.crops,
        evaluation=evaluation,
        fars=params.evaluate.far,
        seed=params.evaluate.seed,
        verify=VERIFY,
        history=HISTORY,
    )
    release = with_int8(bundle.release, INT8)
    card = model_card(release, evaluation.figures, read_catalogue())
    write_file(OUT / "model_card.md", card)
    write_json(OUT / "evaluation.json", evaluation.figures)


if __name__ == "__main__":
    run_stage(main)
