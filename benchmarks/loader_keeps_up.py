"""Does the loader keep up? Images a second of training from disk over those on a resident batch.

    python -m benchmarks.loader_keeps_up [--set backbone=resnet18 ...]

Both run a `Trainer`, an epoch of classification each, alternating so that other load affects
them alike. One reads each batch from the memory map, ahead of the step; the other uses its first
batch, already on the device, for every step. With and without augmentation. The crops are random
pixels. Medians over the rounds; a ratio is the median of its rounds' ratios.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from faceops.config.sections import Train
from faceops.embedding.embedder import choose_device
from faceops.embedding.training.augmentation import Augmentation
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.inputs import PixelInputs
from faceops.embedding.training.training_loop import Row, Trainer, TrainingLog, start_model

PHOTOS_OF_A_PERSON = 20
VALIDATION = 40  # crops; scoring them is not timed
PLAIN = Augmentation()
ALL = Augmentation(True, jitter=0.3, brightness=0.3, blur=0.3, jpeg=0.5, erase=0.2, occlude=0.2)
EACH = [(name, resident) for name in ("plain", "augmented") for resident in (False, True)]


class ResidentInputs(PixelInputs):
    """Gives every step the batch that was loaded first, which is on the device."""

    _resident: torch.Tensor | None = None

    def load(self, positions: np.ndarray) -> torch.Tensor:
        """Return the same crops for all positions; all batches have one size."""
        if self._resident is None:
            self._resident = super().load(positions).to(self.device)
        return self._resident


class Speed(TrainingLog):
    """Keeps the images/s of the epoch."""

    value = 0.0

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Keep it."""
        self.value = images_per_second


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the section train"
    )
    parser.add_argument("--steps", type=int, default=20, help="of each epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cold", action="store_true", help="drop the file's pages before a round")
    parser.add_argument("--folder", type=Path, help="where the crops are written [temporary]")
    parser.add_argument("--threads", type=int, help="of torch")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    chosen = {"backbone": "resnet18", "freeze": False}
    chosen |= {key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in args.set)}
    settings = Train.model_validate(chosen | {"warmup_epochs": 1, "triplet_epochs": 0})
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "crops.npy"
        batch = settings.people_per_batch * settings.photos_per_person
        write_crops(path, args.steps * batch + VALIDATION)
        figures = measure(settings, path, args.rounds, args.cold)
    print(table(figures))


def write_crops(path: Path, count: int) -> None:
    """Write `count` random crops, uint8 (count, 112, 112, 3)."""
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 112, 112, 3))
    draw = np.random.default_rng(0)
    for row in range(count):
        out[row] = draw.integers(0, 256, (112, 112, 3), np.uint8)
    out.flush()


def open_faces(path: Path, cold: bool) -> tuple[FaceDataset, FaceDataset]:
    """Map the crops again; return training and validation faces, in random order on disk."""
    if cold:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    crops = np.load(path, mmap_mode="r")
    order = np.random.default_rng(1).permutation(len(crops))

    def people(rows: np.ndarray, photos: int) -> FaceDataset:
        persons = [f"{number // photos:06d}" for number in range(len(rows))]
        return FaceDataset.of(crops, rows, persons, np.zeros(len(rows), bool))

    return people(order[VALIDATION:], PHOTOS_OF_A_PERSON), people(order[:VALIDATION], 4)


def speed(settings: Train, path: Path, cold: bool, how: str, resident: bool) -> float:
    """Return the images/s of an epoch."""
    device = choose_device(settings.device)
    train, val = open_faces(path, cold)
    kind = ResidentInputs if resident else PixelInputs
    inputs = kind(train, val, ALL if how == "augmented" else PLAIN, device)
    model, log = start_model(settings, None), Speed()
    with tempfile.TemporaryDirectory() as folder:
        Trainer(model, inputs, settings, Path(folder), log=log).fit()
    return log.value


def measure(settings: Train, path: Path, rounds: int, cold: bool) -> dict[str, object]:
    """Return images a second of each, and the ratios."""
    speeds: dict[str, list[float]] = {name_of(*each): [] for each in EACH}
    for number in range(rounds + 1):
        for each in EACH[number % 4 :] + EACH[: number % 4]:
            rate = speed(settings, path, cold, *each)
            if number:  # the first round warms up
                speeds[name_of(*each)].append(rate)
    return {
        "settings": {
            "backbone": settings.backbone,
            "input": f"{settings.input_size} {settings.colour}",
            "batch": settings.people_per_batch * settings.photos_per_person,
            "precision": settings.precision,
            "device": choose_device(settings.device).type,
            "threads": torch.get_num_threads(),
            "cold": cold,
            "rounds": rounds,
        },
        "images_per_second": {
            name: round(statistics.median(values), 1) for name, values in speeds.items()
        },
        "disk over resident": {
            how: ratio(speeds[name_of(how, False)], speeds[name_of(how, True)])
            for how in ("plain", "augmented")
        },
    }


def name_of(how: str, resident: bool) -> str:
    """Return the name of a loop in the table."""
    return f"{'resident' if resident else 'disk'}, {how}"


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    pairs = zip(above, below, strict=True)
    return round(statistics.median(one / other for one, other in pairs), 3)


def table(figures: dict[str, object]) -> str:
    """Lay the figures out in Markdown."""
    lines = [", ".join(f"{key} {value}" for key, value in dict(figures["settings"]).items()), ""]
    lines += ["| loop | images/s |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in dict(figures["images_per_second"]).items()]
    lines += ["", "| disk over resident | ratio |", "| --- | --- |"]
    lines += [f"| {how} | {value} |" for how, value in dict(figures["disk over resident"]).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
