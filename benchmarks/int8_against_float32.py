"""The int8 embedder against float32 and torch eager: size, images a second, accuracy.

Usage: python benchmarks/int8_against_float32.py [--build build] [--export DIR] [--json FILE]

It quantises the release's embedder as the quantise stage does, on crops of training people, and
reports on test people, whom nothing was fitted to: TAR at FAR 1e-3 of all their pairs by the
release's verifier, and cosines of int8 to float32. Speed is of batches of 8, the three in turn
within each repeat, so that what else the machine does meets them alike; medians over the repeats.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from faceops.base.progress import track
from faceops.config.sections import Quantise
from faceops.embedding.model_file import load_model
from faceops.faces.inference_session import open_session
from faceops.release.bundle import Bundle
from faceops.release.contract import EMBEDDER
from faceops.release.export import serialise
from faceops.release.int8.measure import measure_int8, true_accept_rate
from faceops.release.int8.quantise import quantise_embedder
from faceops.release.run_embedder import EMBED_BATCH, run_embedder
from faceops.release.verifier_of_graph import pair_verifier
from faceops.verification.pairs import all_pair_scores
from faceops.verification.split_crops import SplitCrops, evenly_spread, read_split

Embed = Callable[[np.ndarray], object]
_BLOCK = 256


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build"), help="of a rebuild")
    parser.add_argument("--export", type=Path, help="the release [BUILD/export]")
    parser.add_argument("--speed-crops", type=int, default=64, help="embedded a repeat")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--no-accuracy", action="store_true", help="time it only")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    crops_file, faces = args.build / "crop/crops.npy", args.build / "split/faces.parquet"
    folder = args.export or args.build / "export"
    settings = Quantise()
    calibration = evenly_spread(read_split(crops_file, faces, "train"), settings.calibration_crops)
    began = time.monotonic()
    int8 = serialise(
        quantise_embedder(onnx.load(folder / EMBEDDER), calibration, settings.float_layers)
    )
    made_in = time.monotonic() - began
    figures: dict[str, Any] = {
        "calibration_crops": len(calibration),
        "quantised_in_seconds": round(made_in, 1),
        "bytes": {"float32": (folder / EMBEDDER).stat().st_size, "int8": len(int8)},
        "threads": {},
    }
    test = read_split(crops_file, faces, "test")
    some = evenly_spread(test, args.speed_crops)
    model = load_model(args.build / "train")
    for threads in (1, 2):
        figures["threads"][threads] = speeds(
            {
                "torch eager": torch_embed(model, threads),
                "float32": Bundle.load(folder, threads=threads).embed,
                "int8": int8_embed(int8, threads, model.embedding_size),
            },
            some,
            args.repeats,
        )
    print(speed_table(figures))
    if not args.no_accuracy:
        figures |= accuracy(folder, int8, test, settings, len(calibration))
        print(accuracy_table(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")


def accuracy(
    folder: Path, int8: bytes, test: SplitCrops, settings: Quantise, calibration_crops: int
) -> dict[str, Any]:
    """Return true accept rates of both at three false accept rates, and their cosines."""
    bundle = Bundle.load(folder, threads=2)
    verifier = pair_verifier(bundle)
    size = bundle.release.embedding_size
    embedded = [in_blocks(embed, test.crops) for embed in (bundle.embed, int8_embed(int8, 2, size))]
    scored = [all_pair_scores(rows, test.persons, verifier, log_odds=True) for rows in embedded]
    rates = {
        far: [true_accept_rate(scores, far) for scores in scored]
        for far in (1e-2, settings.far, 1e-4)
    }
    before, after = rates[settings.far]
    measured = measure_int8(
        (embedded[0], embedded[1]), (before, after), test.persons, settings, calibration_crops
    )
    return {
        "tar": {f"{far:g}": rates[far] for far in rates},
        "test": measured.model_dump(),
    }


def torch_embed(model: torch.nn.Module, threads: int) -> Embed:
    """Return the embedder in torch eager, float32."""

    def embed(crops: np.ndarray) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for start in range(0, len(crops), EMBED_BATCH):
                batch = torch.from_numpy(crops[start : start + EMBED_BATCH])
                model(batch.to(torch.float32).permute(0, 3, 1, 2))

    return embed


def int8_embed(content: bytes, threads: int, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the embedder `content` on ONNX Runtime."""
    session = open_session(content, threads, arena=True)
    return lambda crops: run_embedder(session, crops, size)


def in_blocks(embed: Callable[[np.ndarray], np.ndarray], crops: np.ndarray) -> np.ndarray:
    """Return the embeddings of `crops`, with progress."""
    starts = track(range(0, len(crops), _BLOCK), "embedding test people")
    return np.concatenate([embed(crops[start : start + _BLOCK]) for start in starts])


def speeds(embedders: dict[str, Embed], crops: np.ndarray, repeats: int) -> dict[str, object]:
    """Return images a second, medians over `repeats`, and the ratios of the same repeat."""
    rates: dict[str, list[float]] = {name: [] for name in embedders}
    for embed in embedders.values():
        embed(crops)  # first runs allocate
    for _ in track(range(repeats), "repeats"):
        for name, embed in embedders.items():
            began = time.perf_counter()
            embed(crops)
            rates[name].append(len(crops) / (time.perf_counter() - began))
    ratio = np.array(rates["int8"])
    return {
        "images_per_second": {name: float(np.median(values)) for name, values in rates.items()},
        "int8_times": {
            name: [float(q) for q in np.quantile(ratio / np.array(values), (0.5, 0.1, 0.9))]
            for name, values in rates.items()
            if name != "int8"
        },
    }


def speed_table(figures: dict[str, Any]) -> str:
    """Return the table of sizes and speeds as Markdown."""
    lines = [
        "| embedder | MB | images/s, 1 thread | images/s, 2 threads |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in ("torch eager", "float32", "int8"):
        size = figures["bytes"].get(name)
        told = "" if size is None else f"{size / 1e6:.1f}"
        shown = [figures["threads"][n]["images_per_second"][name] for n in (1, 2)]
        lines.append(f"| {name} | {told} | {shown[0]:.0f} | {shown[1]:.0f} |")
    for name in ("float32", "torch eager"):
        ratios = [figures["threads"][n]["int8_times"][name] for n in (1, 2)]
        cells = [f"{r[0]:.2f} ({r[1]:.2f} to {r[2]:.2f})" for r in ratios]
        lines.append(f"| int8 over {name}, median (10 to 90 %) | | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def accuracy_table(figures: dict[str, Any]) -> str:
    """Return the table of true accept rates as Markdown, and the cosines."""
    lines = ["| FAR | TAR float32 | TAR int8 | lost |", "| --- | ---: | ---: | ---: |"]
    for far, (before, after) in figures["tar"].items():
        lines.append(f"| {far} | {before:.4f} | {after:.4f} | {before - after:.4f} |")
    test = figures["test"]
    return "\n".join(lines) + (
        f"\n\n{test['people']} test people, {test['photos']} photos; cosine of int8 to float32: "
        f"mean {test['mean_cosine']:.4f}, smallest {test['min_cosine']:.4f}; calibrated on "
        f"{figures['calibration_crops']} crops of training people in "
        f"{figures['quantised_in_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
