"""Does the loader keep up? Images a second of training from disk over those on a resident batch.

Usage: python benchmarks/loader_keeps_up.py [--set backbone=resnet18 ...] [--json FILE]

Four loops take turns within each round, so that what else the machine does meets them alike:
from disk (sampler, memory map, reading ahead, transfer) and on one batch that stays on the
device, each with and without augmentation; forward, backward and optimiser step are the same in
all. The crops are random pixels in a file of their own. Medians over the rounds; a ratio is the
median of its rounds' ratios.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml

from faceops.config.sections import Train
from faceops.embedding.device import choose_device
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.people_photos_sampler import PeoplePhotosSampler
from faceops.embedding.training.read_ahead import read_ahead
from faceops.embedding.training.start_model import start_model
from faceops.embedding.training.training_inputs import PixelInputs

PHOTOS_OF_A_PERSON = 20
Batches = Iterator[tuple[np.ndarray, torch.Tensor]]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the section train"
    )
    parser.add_argument("--crops", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each loop a round")
    parser.add_argument("--cold", action="store_true", help="drop the file's pages before a round")
    parser.add_argument("--folder", type=Path, help="where the crops go for a while [temporary]")
    parser.add_argument("--threads", type=int, help="of torch [as it chooses]")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = {"backbone": "resnet18", "freeze": False}
    chosen |= {key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in args.set)}
    settings = Train.model_validate(chosen)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "crops.npy"
        write_crops(path, args.crops)
        figures = measure(settings, path, args.rounds, args.steps, args.cold)
    print(table(figures))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def write_crops(path: Path, count: int) -> None:
    """Write `count` random crops, uint8 (count, 112, 112, 3)."""
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 112, 112, 3))
    draw = np.random.default_rng(0)
    for row in range(count):
        out[row] = draw.integers(0, 256, (112, 112, 3), np.uint8)
    out.flush()


def open_faces(path: Path, cold: bool) -> LabelledCrops:
    """Map the crops anew, `PHOTOS_OF_A_PERSON` of each person."""
    if cold:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    crops = np.load(path, mmap_mode="r")
    rows = np.random.default_rng(1).permutation(len(crops))
    persons = [f"{number // PHOTOS_OF_A_PERSON:06d}" for number in range(len(crops))]
    return LabelledCrops.of(crops, rows, persons, np.zeros(len(crops), bool))


def measure(settings: Train, path: Path, rounds: int, steps: int, cold: bool) -> dict[str, object]:
    """Return images a second of each loop, and the ratios."""
    device = choose_device(settings.device)
    faces = open_faces(path, False)
    model = start_model(settings, None).to(device).to(memory_format=torch.channels_last).train()
    classifier = torch.nn.Linear(settings.embedding_size, faces.people).to(device)
    optimiser = torch.optim.AdamW([*model.parameters(), *classifier.parameters()], lr=1e-4)
    sampler = PeoplePhotosSampler(
        faces.labels, faces.negative_only, settings.people_per_batch, settings.photos_per_person
    )
    all_on = Augmentation(
        True, jitter=0.3, brightness=0.3, blur=0.3, jpeg=0.5, erase=0.2, occlude=0.2
    )

    def inputs(augmentation: Augmentation) -> PixelInputs:
        known = open_faces(path, cold)
        return PixelInputs(known, known, augmentation, device)

    def from_disk(feed: PixelInputs) -> Batches:
        return read_ahead(sampler.epoch(np.random.default_rng(2)), feed.load)

    def resident(feed: PixelInputs) -> Batches:
        positions = next(sampler.epoch(np.random.default_rng(2)))
        loaded = feed.load(positions).to(device)
        while True:
            yield positions, loaded

    def speed(source: Callable[[PixelInputs], Batches], augmentation: Augmentation) -> float:
        feed = inputs(augmentation)
        batches = source(feed)
        images, begun = 0, 0.0
        for step in range(steps + 1):
            positions, loaded = next(batches)
            labels = torch.from_numpy(faces.labels[positions]).to(device)
            with torch.autocast(
                device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
            ):
                embeddings = feed.embed(model, loaded, step)
            loss = F.cross_entropy(classifier(embeddings.float()), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            float(loss.detach())  # the loop reads it each step too
            if step == 0:
                images, begun = 0, time.perf_counter()  # the first step warms up
            else:
                images += len(positions)
        taken = time.perf_counter() - begun
        batches.close()  # type: ignore[attr-defined]
        return images / taken

    loops = {
        "disk, augmented": (from_disk, all_on),
        "resident, augmented": (resident, all_on),
        "disk, plain": (from_disk, Augmentation()),
        "resident, plain": (resident, Augmentation()),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        order = list(loops)
        order = order[number % 4 :] + order[: number % 4]
        for name in order:
            found = speed(*loops[name])
            if number:  # the first round warms up
                speeds[name].append(found)
    ratios = {
        "loading": ratio(speeds, "disk, plain", "resident, plain"),
        "loading, with augmentation in both": ratio(
            speeds, "disk, augmented", "resident, augmented"
        ),
        "augmentation": ratio(speeds, "resident, augmented", "resident, plain"),
        "loading and augmentation": ratio(speeds, "disk, augmented", "resident, plain"),
    }
    return {
        "settings": {
            "backbone": settings.backbone,
            "batch": settings.people_per_batch * settings.photos_per_person,
            "precision": settings.precision,
            "device": device.type,
            "threads": torch.get_num_threads(),
            "crops": len(faces.rows),
            "cold": cold,
            "rounds": rounds,
            "steps": steps,
        },
        "images_per_second": {
            name: round(statistics.median(values), 1) for name, values in speeds.items()
        },
        "ratios": ratios,
    }


def ratio(speeds: dict[str, list[float]], above: str, below: str) -> float:
    """Return the median of the rounds' ratios."""
    pairs = zip(speeds[above], speeds[below], strict=True)
    return round(statistics.median(one / other for one, other in pairs), 3)


def table(figures: dict[str, object]) -> str:
    """Lay the figures out in Markdown."""
    lines = [", ".join(f"{key} {value}" for key, value in dict(figures["settings"]).items()), ""]
    lines += ["| loop | images/s |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in dict(figures["images_per_second"]).items()]
    lines += ["", "| ratio of | is |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in dict(figures["ratios"]).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
