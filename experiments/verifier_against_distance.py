"""The linear verifier against the plain distance, and what calibrated probabilities are worth.

    python experiments/verifier_against_distance.py --build build --out build/verifier.json
    python experiments/verifier_against_distance.py --embeddings lfw.npz --out build/verifier.json

Fits both on training people and calibrates them on validation people, as the verify stage does
by params.yaml, then looks at test people, seen by neither: true accept rates with paired
bootstrap intervals over people, log-loss and ECE of every calibration, people weighing alike.
--build is a finished pipeline's folder, whose bundle embeds its crops; --embeddings a file with
`embeddings` float32 (N, D), L2-normalised, `persons` (N,) and `splits` (N,): train, val, test.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import write_json
from faceops.base.progress import track
from faceops.config import read_params
from faceops.config.sections import Verify
from faceops.evaluation.evaluate import rounded
from faceops.release.bundle import Bundle
from faceops.verification.accept_rate_gain import Gain, accept_rate_gain
from faceops.verification.choose_calibration import CHOICES, choose_calibration, fit_map
from faceops.verification.fit import fit_layers
from faceops.verification.pairs import PairScores, all_pair_scores, genuine_weights
from faceops.verification.platt import mean_loss
from faceops.verification.reliability import counted_reliability
from faceops.verification.score_table import score_table
from faceops.verification.split_crops import SplitCrops, at_most, read_split
from faceops.verification.support import people_for_pairs
from faceops.verification.verifier import sigmoid

Table = tuple[np.ndarray, np.ndarray]  # embeddings (N, D), persons (N,)
SPLITS = ("train", "val", "test")
WORTH = ("held_out_log_loss", "held_out_ece", "test_log_loss", "test_ece")
_BLOCK = 256


def from_build(build: Path, settings: Verify) -> dict[str, Table]:
    """Embed a pipeline's splits by its bundle."""
    bundle = Bundle.load(build / "export", threads=2)
    tables = {}
    for name in SPLITS:
        split = read_split(build / "crop/crops.npy", build / "split/faces.parquet", name)
        if name == "train":
            split = at_most(split, settings.faces, settings.seed)
        starts = track(range(0, len(split.crops), _BLOCK), f"embedding {name}")
        parts = [bundle.embed(split.crops[at : at + _BLOCK]) for at in starts]
        tables[name] = np.concatenate(parts), split.persons
    return tables


def from_file(file: Path, settings: Verify) -> dict[str, Table]:
    """Read the splits of an .npz file."""
    try:
        with np.load(file, allow_pickle=False) as content:
            embeddings, persons, splits = (content[k] for k in ("embeddings", "persons", "splits"))
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{file} is no .npz file of this kind.") from None
    rows = {name: np.flatnonzero(splits == name) for name in SPLITS}
    train = SplitCrops(rows["train"], persons[rows["train"]])
    rows["train"] = at_most(train, settings.faces, settings.seed).crops
    return {name: (embeddings[part], persons[part]) for name, part in rows.items()}


def measure(tables: dict[str, Table], settings: Verify) -> dict[str, Any]:
    """Return all figures, as plain values."""
    layers, pairs = fit_layers(*tables["train"], settings)
    logits = {
        (split, kind): all_pair_scores(*tables[split], layer, log_odds=True, seed=settings.seed)
        for split in ("val", "test")
        for kind, layer in layers.items()
    }
    accepted = []
    for split in ("val", "test"):
        persons = tables[split][1]
        for far in settings.far_budgets:
            new, old = logits[split, "linear"], logits[split, "distance"]
            gain = accept_rate_gain(new, old, persons, far, seed=settings.seed)
            supported = len(np.unique(persons)) >= people_for_pairs(far)
            accepted.append({"split": split, "supported": supported, **compared(gain)})
    return {
        "people": {name: len(np.unique(persons)) for name, (_, persons) in tables.items()},
        "photos": {name: len(persons) for name, (_, persons) in tables.items()},
        "training_pairs": pairs,
        "accepted": accepted,
        "calibration": {
            kind: calibrations(
                logits["val", kind],
                logits["test", kind],
                tables["val"][1],
                tables["test"][1],
                settings,
            )
            for kind in layers
        },
    }


def compared(gain: Gain) -> dict[str, Any]:
    """Return both rates and their difference, each with its 95 % interval."""
    new, old = gain.rate_intervals()
    return {
        "far": gain.far,
        "linear": (gain.rates[0], *new),
        "distance": (gain.rates[1], *old),
        "gain": (gain.gain, *gain.interval()),
        "kept": gain.low > 0,
    }


def calibrations(
    val: PairScores,
    test: PairScores,
    val_persons: np.ndarray,
    test_persons: np.ndarray,
    settings: Verify,
) -> dict[str, Any]:
    """Return what each method is worth on people held out of `val`, and on `test`."""
    choice = choose_calibration(val, val_persons, seed=settings.seed)
    seen, unseen = (
        score_table(part.genuine, part.impostor, weights=genuine_weights(persons))
        for part, persons in ((val, val_persons), (test, test_persons))
    )
    rows = {}
    for method in CHOICES:
        log_odds = fit_map(seen, method)(unseen.score).astype(np.float64)
        bins = counted_reliability(sigmoid(log_odds), unseen.genuine, unseen.impostor)
        held = choice.held_out.get(method)
        rows[method] = {
            "held_out_log_loss": held.log_loss if held else None,
            "held_out_ece": held.expected_error if held else None,
            "test_log_loss": mean_loss(unseen, log_odds),
            "test_ece": bins.expected_error,
        }
    return {"chosen": choice.method, "methods": rows}


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as tables for people."""
    people, photos = figures["people"], figures["photos"]
    accepted = []
    for row in figures["accepted"]:
        rates = [row[name] for name in ("linear", "distance", "gain")]
        cells = [f"{rate:.4f} ({low:.4f} to {high:.4f})" for rate, low, high in rates]
        far = f"{row['far']:g}" + ("" if row["supported"] else ", too few people for it")
        accepted.append([row["split"], far, *cells, "linear" if row["kept"] else "distance"])
    worth = []
    for kind, part in figures["calibration"].items():
        for method, row in part["methods"].items():
            cells = ["" if row[key] is None else f"{row[key]:.5f}" for key in WORTH]
            worth.append([kind, method + " (chosen)" * (method == part["chosen"]), *cells])
    counts = ", ".join(f"{name} {people[name]} people, {photos[name]} photos" for name in SPLITS)
    first = ["people", "FAR", "TAR, linear", "TAR, distance", "linear - distance", "kept"]
    second = ["kind", "calibration", *(key.replace("_", " ") for key in WORTH)]
    return "\n\n".join([counts, table(first, accepted), table(second, worth)])


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--build", type=Path, help="the folder of a finished pipeline")
    source.add_argument("--embeddings", type=Path, help="an .npz file")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    args = parser.parse_args()
    settings = read_params(Path("params.yaml")).verify
    read = from_build if args.build else from_file
    figures = measure(read(args.build or args.embeddings, settings), settings)
    write_json(args.out, rounded(figures))
    print(markdown(figures))


if __name__ == "__main__":
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
