"""Train on LFW's DevTrain people, report on DevTest's: verification and identification.

    python -m experiments.lfw_training lfw_scratch --build build --lists LFW --out OUT

OVERLAY is a name in experiments/ (lfw_scratch, lfw_pretrained, ...) or a YAML file; --set changes
single keys. BUILD is what `faceops params use lfw_scratch && dvc repro split` leaves: LFW's aligned
crops and its official split, from which a tenth of DevTrain's people validates. LFW is the folder
of pairsDevTrain.txt and pairsDevTest.txt. The table goes to experiments/results/NAME.md and .json.

DevTest's people are seen by nothing but the last measurement: training people teach the network
and the verifier, validation people choose the epoch, calibrate, and set all thresholds but that of
View 1's first row. Both thresholds of View 1 are DevTrain's, and the published accuracy stands
beside both: people who taught a network lie closer together in it than others. Mirrored photos are
not averaged at test time; a release does not do it either.

From the pretrained start SFace as published is measured beside the trained model, with its own
verifier and thresholds: the difference is paired over people and held against its standard error.
Where no epoch was better than the start on validation people, that is said and the last epoch's
weights are compared.

A killed run goes on after its last epoch when it is started again with the same --out.
"""

import argparse
from pathlib import Path

from experiments.training.built_faces import read_build
from experiments.training.embed_faces import embed_faces
from experiments.training.figures_table import RESULTS, figures_table, table, write_results
from experiments.training.fit import fit, take_last_epoch
from experiments.training.lfw_measured import Published, compared, measure_lfw
from experiments.training.paired_gain import HEADER
from experiments.training.read_settings import read_settings
from experiments.training.run_experiment import run_experiment
from experiments.training.run_facts import run_facts
from faceops.base.files import sha256_file
from faceops.embedding.device import choose_device
from faceops.embedding.training.build_inputs import build_inputs
from faceops.embedding.training.start_model import start_model
from faceops.weights.settings import weight_path

# By a published LFW-only model that starts from ImageNet; the last two on other unseen people.
PUBLISHED = {
    "accuracy": 0.906,
    "tar": 0.728,
    "rank_1": 0.64,
    "open_set": 0.286,
    "against": 0.850,
    "verifier": 0.971,
}


def stated(backbone: str) -> dict[str, Published]:
    """Return what is published beside each figure, and what a model of that kind must reach."""
    if backbone == "facenet_nn2":
        return {}  # none at this size
    if backbone == "pretrained":  # its aim on the other figures is to beat SFace
        aims: dict[str, Published] = {
            key: Published(PUBLISHED[key], 0.99) for key in ("against", "verifier")
        }
    else:
        aims = {
            key: Published(PUBLISHED[key], PUBLISHED[key], above=True)
            for key in ("accuracy", "tar", "rank_1", "open_set")
        }
    return {key: Published(value) for key, value in PUBLISHED.items()} | aims


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overlay", metavar="OVERLAY")
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--lists", type=Path, required=True, metavar="LFW")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and embeddings")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--name", help="of the tables; else the overlay's")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    args = parser.parse_args()
    params = read_settings(args.overlay, args.set, args.out)
    settings, seed = params.train, params.evaluate.seed
    device = choose_device(settings.device)
    faces = read_build(args.build)
    train, val = faces.labelled("train"), faces.labelled("val")
    pretrained = settings.backbone == "pretrained"
    sface = weight_path("sface") if pretrained else None
    start = start_model(settings, sface)
    before = embed_faces(start, faces, args.out, device) if pretrained else None

    data = [*faces.hashes, sha256_file(sface) if sface else ""]
    fitted = fit(
        start,
        lambda: build_inputs(start, train, val, settings, args.out, device),
        train, val, settings, args.out, data, device=device,
    )  # fmt: skip
    embeddings = embed_faces(fitted.model, faces, args.out, device)
    measured = measure_lfw(faces, embeddings, params, args.lists)
    figures = measured.figures(stated(settings.backbone), seed)
    parts = [figures_table(figures), measured.told()]
    content = {
        "figures": [figure.as_dict() for figure in figures],
        "held_out": [held.means() for held in measured.held_out],
        "training": fitted.facts,
    }
    if before is not None:
        as_it_is = measure_lfw(faces, before, params, args.lists)
        rows = as_it_is.figures(stated(settings.backbone), seed)
        which = "The trained model"
        if fitted.facts["best_epoch"] == 0:
            which = (
                "No epoch was better than SFace on the validation people, so SFace was kept and"
                " the figures above are its own. The last epoch's weights"
            )
            take_last_epoch(fitted, settings)
            embeddings = embed_faces(fitted.model, faces, args.out, device)
            measured = measure_lfw(faces, embeddings, params, args.lists)
        gains = compared(as_it_is, measured, seed)
        parts += [
            "SFace as published, measured alike:",
            figures_table(rows),
            f"{which} against SFace as it is, paired. Standard errors are over people.",
            table(HEADER, [gain.row() for gain in gains]),
        ]
        content["sface"] = {
            "figures": [figure.as_dict() for figure in rows],
            "gains": [vars(gain) | {"finding": gain.finding} for gain in gains],
        }
    name = args.name or Path(args.overlay).stem
    seen = (
        f"LFW, official split: {faces.seen()}. "
        + (
            "SFace's publishers trained it on MS-Celeb-1M-like photos, perhaps of people of LFW. "
            if pretrained
            else ""
        )
        + "DevTest's people chose nothing and taught nothing here."
    )
    changed = "".join(f" --set {change}" for change in args.set)
    print(
        write_results(
            name,
            f"LFW, {name}: trained on DevTrain, reported on DevTest",
            f"python -m experiments.lfw_training {args.overlay} --build BUILD --lists LFW --out OUT"
            + changed
            + (f" --name {name}" if args.name else ""),
            parts,
            run_facts(seen, settings, {"": fitted.facts}, device),
            content,
            args.results,
        )
    )


if __name__ == "__main__":
    run_experiment(main)
