"""Stage evaluate: score the exported bundle on people whom nothing has seen."""

from pathlib import Path

from faceops.config import read_params
from faceops.evaluation.curves import write_curves
from faceops.evaluation.plots.write_plots import write_plots
from faceops.photos.usable_cpus import usable_cpus
from faceops.release.bundle import Bundle
from faceops.release.evaluate_bundle import embed_split, evaluate_model
from faceops.release.measured_model import of_bundle
from faceops.release.model_card import model_card
from faceops.stages import run_stage
from faceops.stages.json_output import write_json
from faceops.weights.catalogue import read_catalogue

OUT = Path("build/evaluate")
CROPS, FACES = Path("build/crop/crops.npy"), Path("build/split/faces.parquet")


def main() -> None:
    """Write build/evaluate: evaluation.json, CSV and PNG plots, model_card.md."""
    params = read_params(Path("params.yaml"))
    bundle = Bundle.load(Path("build/export"), threads=2)
    model = of_bundle(bundle)
    faces = embed_split(model, CROPS, FACES)
    evaluation = evaluate_model(model, faces, params.evaluate, threads=usable_cpus())
    thresholds = bundle.release.thresholds
    OUT.mkdir(parents=True, exist_ok=True)
    write_curves(evaluation, OUT)
    write_plots(evaluation, thresholds, params.evaluate.far, OUT)
    card = model_card(bundle.release, evaluation.figures, read_catalogue())
    temporary = OUT / "model_card.md.tmp"
    temporary.write_text(card, "utf-8")
    temporary.replace(OUT / "model_card.md")
    write_json(OUT / "evaluation.json", evaluation.figures)


if __name__ == "__main__":
    run_stage(main)
