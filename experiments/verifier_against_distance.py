"""The linear verifier compared with the plain distance, and its calibrations.

    python -m experiments.verifier_against_distance --build build

Both are fitted on training people and calibrated on validation people, as the stage `verify` does
with params.yaml, then measured on test people: true accept rates with paired bootstrap intervals
over people; log loss and ECE of every calibration of the distance, weighted so that people count
alike. BUILD is the folder of a finished pipeline, whose release embeds the crops.
"""

from pathlib import Path

import numpy as np

from experiments import parser, run
from faceops.config.params_file import read_params
from faceops.config.sections import Verify
from faceops.verification.bootstrap import percentile_interval
from faceops.verification.calibration import CHOICES, choose_calibration, fit_map, mean_loss
from faceops.verification.fit import accept_rate_gain, fit_layers
from faceops.verification.pairs import all_pair_scores, genuine_weights
from faceops.verification.score_table import reliability_of_counts, score_table
from faceops.verification.split_faces import at_most, read_rows, read_split
from faceops.verification.verifier import sigmoid


def embed(build: Path, split: str, settings: Verify) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings, float32 (N, D), and persons (N,) of a split."""
    part = read_split(build / "split/faces.parquet", split)
    if split == "train":
        part = at_most(part, settings.faces, settings.seed)
    return read_rows(build / "embed/embeddings.npy", part.rows), part.persons


def main() -> None:
    """Fit, measure, print two tables."""
    options = parser(__doc__)
    options.add_argument("--build", type=Path, default=Path("build"))
    args = options.parse_args()
    settings = read_params(Path("params.yaml")).verify
    tables = {split: embed(args.build, split, settings) for split in ("train", "val", "test")}
    layers, _ = fit_layers(*tables["train"], settings)
    logits = {
        (split, kind): all_pair_scores(*tables[split], layer, log_odds=True, seed=settings.seed)
        for split in ("val", "test")
        for kind, layer in layers.items()
    }
    print("| people | FAR | TAR, linear | TAR, distance | linear - distance |")
    print("| --- | --- | --- | --- | --- |")
    for split in ("val", "test"):
        for far in settings.far_budgets:
            gain = accept_rate_gain(
                logits[split, "linear"], logits[split, "distance"], tables[split][1], far,
                seed=settings.seed,
            )  # fmt: skip
            intervals = [*map(percentile_interval, gain.resampled.T), gain.interval().values()]
            rates = zip((*gain.rates, gain.gain), intervals, strict=True)
            cells = [f"{rate:.4f} ({low:.4f} to {high:.4f})" for rate, (low, high) in rates]
            print(f"| {split} | {far:g} | {' | '.join(cells)} |")
    chosen = choose_calibration(logits["val", "distance"], tables["val"][1], seed=settings.seed)
    seen, unseen = (
        score_table(scores.genuine, scores.impostor, weights=genuine_weights(tables[split][1]))
        for split, scores in ((name, logits[name, "distance"]) for name in ("val", "test"))
    )
    print("\n| calibration | log loss, test | ECE, test |\n| --- | --- | --- |")
    for method in CHOICES:
        log_odds = fit_map(seen, method)(unseen.score).astype(np.float64)
        bins = reliability_of_counts(sigmoid(log_odds), unseen.genuine, unseen.impostor)
        name = method + " (chosen)" * (method == chosen.method)
        print(f"| {name} | {mean_loss(unseen, log_odds):.5f} | {bins.expected_error:.5f} |")


if __name__ == "__main__":
    run(main)
