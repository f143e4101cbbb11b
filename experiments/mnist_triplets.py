"""Pure triplet training on MNIST: 64 dimensions, semi-hard for two fifths of it, then batch-hard.

    python -m experiments.mnist_triplets --mnist MNIST --out OUT [--set train.seed=8]

MNIST is the folder of the four IDX files. 56,000 training digits are learnt from, in batches of all
ten digits with as many photos each; the other 4,000 choose the epoch and give the threshold, that
at which one in a thousand of their pairs of two digits is accepted. The 10,000 test digits are
looked at once, at the end, at that threshold: 512 pairs of one digit and 512 of two, drawn 20
times, as published, and all pairs there are.

Accuracy at that threshold is (VAL + 1 - FAR) / 2. The table goes to
experiments/results/mnist_triplets.md and .json. A killed run goes on after its last epoch when it
is started again with the same --out. One thread is enough: OMP_NUM_THREADS=1.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from experiments.training.figures_table import RESULTS, Figure, figures_table, write_results
from experiments.training.fit import fit
from experiments.training.mnist_images import Digits, read_mnist
from experiments.training.mnist_inputs import DigitInputs, embed_digits
from experiments.training.mnist_network import build_digit_network
from experiments.training.read_settings import read_settings
from experiments.training.run_experiment import run_experiment
from experiments.training.run_facts import run_facts
from experiments.training.uniform_pairs import uniform_pairs
from faceops.base.files import sha256_file
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.validation_tar import MAX_PHOTOS
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_scan import scan_pairs
from faceops.evaluation.random_pairs import RandomPairs
from faceops.verification.verifier import Verifier

NAME = "mnist_triplets"
HELD_OUT = MAX_PHOTOS  # of more, whole digits would have no say in the epoch
FAR = 1e-3
PAIRS, DRAWS = 512, 20


def part(digits: Digits, rows: np.ndarray) -> LabelledCrops:
    """Return the digits of `rows` as training takes them."""
    return LabelledCrops(digits.images, rows, digits.labels[rows], np.zeros(len(rows), bool))


def embedded(model: Embedder, images: np.ndarray, labels: np.ndarray) -> EmbeddedFaces:
    """Return the digits as protocols take them."""
    names = labels.astype(str)
    return EmbeddedFaces(embed_digits(model, images), names, np.full(len(names), ""))


def measure(model: Embedder, held_out: LabelledCrops, test: Digits, seed: int) -> list[Figure]:
    """Return the rows of the table; the threshold is that of `held_out`."""
    distance = Verifier(-np.ones(model.embedding_size, np.float32), 0.0, "distance")
    chosen_on = embedded(model, held_out.crops[held_out.rows], held_out.labels)
    cut = scan_pairs(chosen_on, distance, [FAR]).threshold(FAR)
    assert cut is not None
    faces = embedded(model, test.images, test.labels)
    drawn = [uniform_pairs(test.labels, PAIRS, seed + number) for number in range(DRAWS)]
    table = faces.embeddings
    scores = [distance.logit(table[pairs.first], table[pairs.second]) for pairs in drawn]
    accuracy = RandomPairs(drawn, scores, test.labels).accuracy(cut)
    accepted = [score >= np.float32(cut) for score in scores]
    val, far = (
        np.array([hits[chosen].mean() for hits, chosen in zip(accepted, kind, strict=True)])
        for kind in ([pairs.same for pairs in drawn], [~pairs.same for pairs in drawn])
    )
    # Ten times the rate: the threshold is other digits', and may let more pass here.
    scan = scan_pairs(faces, distance, [10 * FAR])
    all_val = float((scan.roc.genuine >= np.float32(cut)).mean())
    all_far = float((scan.top.score >= np.float32(cut)).sum() / scan.roc.impostors)
    pairs = f"{PAIRS} + {PAIRS} pairs"
    return [
        Figure(f"accuracy, {pairs}", float(accuracy.mean()), 0.9717, 0.995,
               spread=float(accuracy.std(ddof=1))),
        Figure(f"VAL, {pairs}", float(val.mean()), 0.9434, 0.99, spread=float(val.std(ddof=1))),
        Figure(f"FAR, {pairs}", float(far.mean()), spread=float(far.std(ddof=1))),
        Figure("accuracy, all pairs", (all_val + 1 - all_far) / 2),
        Figure("VAL, all pairs", all_val),
        Figure("FAR, all pairs", all_far),
    ]  # fmt: skip


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    args = parser.parse_args()
    settings = read_settings(NAME, args.set, args.out).train
    learnt_from, test = read_mnist(args.mnist)
    order = np.random.default_rng(settings.seed).permutation(len(learnt_from.labels))
    held_out, train = part(learnt_from, order[:HELD_OUT]), part(learnt_from, order[HELD_OUT:])
    device = torch.device("cpu")
    folder = Path(__file__).parent / "training"
    code = [sha256_file(folder / f"mnist_{name}.py") for name in ("images", "inputs", "network")]
    data = hashlib.sha256(learnt_from.images.tobytes() + learnt_from.labels.tobytes()).hexdigest()
    fitted = fit(
        build_digit_network(settings.embedding_size, settings.seed),
        lambda: DigitInputs(train, held_out, settings.jitter),
        train, held_out, settings, args.out, [*code, data], device,
    )  # fmt: skip
    figures = measure(fitted.model, held_out, test, settings.seed)
    seen = (
        f"MNIST: {len(train.rows)} training digits learnt from, {HELD_OUT} others chose the epoch"
        f" and gave the threshold at FAR {FAR:g}; the {len(test.labels)} test digits, {DRAWS} draws"
        " of pairs, chose nothing"
    )
    weights = sum(value.numel() for value in fitted.model.parameters())
    network = (
        f"experiments/training/mnist_network.py, {weights:,} parameters, whatever the backbone"
    )
    changed = "".join(f" --set {change}" for change in args.set)
    print(
        write_results(
            NAME,
            "MNIST by triplets alone",
            f"python -m experiments.mnist_triplets --mnist MNIST --out OUT{changed}",
            [figures_table(figures), "± is the deviation over draws of test pairs."],
            {"network": network} | run_facts(seen, settings, {"": fitted.facts}, device),
            {"figures": [figure.as_dict() for figure in figures], "training": fitted.facts},
            args.results,
        )
    )


if __name__ == "__main__":
    run_experiment(main)
