"""The int8 embedder compared with float32 and torch eager: size, images a second, accuracy.

    python -m benchmarks.int8_against_float32 [--build build] [--export DIR]

The release's embedder is quantised as in the stage `quantise`, on crops of training people, and
measured on test people: TAR over all their pairs with the release's verifier, and the cosine of
int8 to float32. Speed is of batches, the three embedders alternating within each repeat so that
other load affects them alike; medians over the repeats.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from faceops.base.progress import track
from faceops.config.sections import Quantise
from faceops.embedding.model_file import load_model
from faceops.faces.inference_session import open_session
from faceops.release.bundle import EMBED_BATCH, Bundle, run_embedder
from faceops.release.contract import EMBEDDER
from faceops.release.export import load_network, serialise
from faceops.release.int8_graph import quantise_embedder
from faceops.release.int8_offer import true_accept_rate
from faceops.release.verifier_graph import pair_verifier
from faceops.verification.pairs import all_pair_scores
from faceops.verification.split_faces import evenly_spread, read_rows, read_split

Embed = Callable[[np.ndarray], np.ndarray]
BLOCK = 256
FARS = (1e-2, 1e-3, 1e-4)


def torch_embed(model: torch.nn.Module, threads: int) -> Embed:
    """Return the embedder in torch eager, float32."""

    @torch.inference_mode()
    def embed(crops: np.ndarray) -> np.ndarray:
        torch.set_num_threads(threads)
        parts = [
            model(torch.from_numpy(crops[at : at + EMBED_BATCH["cpu"]]).float().permute(0, 3, 1, 2))
            for at in range(0, len(crops), EMBED_BATCH["cpu"])
        ]
        return torch.cat(parts).numpy()

    return embed


def int8_embed(content: bytes, threads: int, size: int) -> Embed:
    """Return the ONNX embedder `content` on ONNX Runtime."""
    session = open_session(content, threads)
    return lambda crops: run_embedder(session, crops, size).embeddings


def speeds(embedders: dict[str, Embed], crops: np.ndarray, repeats: int) -> dict[str, np.ndarray]:
    """Return images a second of each embedder and repeat, float64 (R,)."""
    rates: dict[str, list[float]] = {name: [] for name in embedders}
    for embed in embedders.values():
        embed(crops)  # first runs allocate
    for _ in track(range(repeats), "repeats"):
        for name, embed in embedders.items():
            start = time.perf_counter()
            embed(crops)
            rates[name].append(len(crops) / (time.perf_counter() - start))
    return {name: np.array(values) for name, values in rates.items()}


def speed_table(megabytes: dict[str, float], rates: list[dict[str, np.ndarray]]) -> str:
    """Return sizes and speeds as Markdown; `rates` are of one and of two threads."""
    lines = ["| embedder | MB | images/s, 1 thread | 2 threads |", "| --- | ---: | ---: | ---: |"]
    for name in rates[0]:
        size = f"{megabytes[name]:.1f}" if name in megabytes else ""
        cells = [f"{np.median(of_each[name]):.0f}" for of_each in rates]
        lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    for name in ("float32", "torch eager"):
        ratios = [np.quantile(each["int8"] / each[name], (0.5, 0.1, 0.9)) for each in rates]
        cells = [f"{r[0]:.2f} ({r[1]:.2f} to {r[2]:.2f})" for r in ratios]
        lines.append(f"| int8 over {name}, median (10 to 90 %) | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def accuracy_table(bundle: Bundle, int8: Embed, crops: np.ndarray, persons: np.ndarray) -> str:
    """Return TAR of both on `crops` (N, 112, 112, 3) as Markdown, and the cosines."""
    verifier = pair_verifier(bundle)
    embedded = []
    for embed in (bundle.embed, int8):
        starts = track(range(0, len(crops), BLOCK), "embed test people")
        embedded.append(np.concatenate([embed(crops[at : at + BLOCK]) for at in starts]))
    scores = [all_pair_scores(rows, persons, verifier, log_odds=True) for rows in embedded]
    lines = ["| FAR | TAR float32 | TAR int8 | lost |", "| --- | ---: | ---: | ---: |"]
    for far in FARS:
        before, after = (true_accept_rate(one, far) for one in scores)
        lines.append(f"| {far:g} | {before:.4f} | {after:.4f} | {before - after:.4f} |")
    cosine = (embedded[0] * embedded[1]).sum(axis=1)
    return "\n".join(lines) + (
        f"\n\n{len(np.unique(persons))} test people, {len(persons)} photos; cosine of"
        f" int8 to float32: mean {cosine.mean():.4f}, smallest {cosine.min():.4f}"
    )


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=Path("build"), help="of a rebuild")
    parser.add_argument("--export", type=Path, help="the release [BUILD/export]")
    parser.add_argument("--speed-crops", type=int, default=64, help="embedded a repeat")
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    folder, settings = args.export or args.build / "export", Quantise()
    crops = args.build / "crop/crops.npy"
    train, test = (
        read_split(args.build / "split/faces.parquet", split) for split in ("train", "test")
    )
    calibration = read_rows(crops, evenly_spread(train.rows, settings.calibration_crops))
    embedder = load_network(folder / EMBEDDER)
    int8 = serialise(quantise_embedder(embedder, calibration, settings.float_layers))
    some = read_rows(crops, evenly_spread(test.rows, args.speed_crops))
    model = load_model(args.build / "train")
    rates = []
    for threads in (1, 2):
        embedders: dict[str, Embed] = {
            "torch eager": torch_embed(model, threads),
            "float32": Bundle.load(folder, threads=threads).embed,
            "int8": int8_embed(int8, threads, model.embedding_size),
        }
        rates.append(speeds(embedders, some, args.repeats))
    size = (folder / EMBEDDER).stat().st_size
    print(speed_table({"float32": size / 1e6, "int8": len(int8) / 1e6}, rates))
    bundle = Bundle.load(folder, threads=2)
    embed = int8_embed(int8, 2, bundle.release.embedding_size)
    print(accuracy_table(bundle, embed, read_rows(crops, test.rows), test.persons))


if __name__ == "__main__":
    main()
