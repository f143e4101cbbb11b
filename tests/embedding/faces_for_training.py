"""Small sets of crops of people with a colour pattern each, with noise per photo; a network."""

import numpy as np
import torch
from torch import nn

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder, InputStage
from faceops.embedding.training.inputs import FaceDataset, PixelInputs


def coloured_people(
    people: int, photos: int, singles: int = 0, seed: int = 0, noise: float = 40
) -> FaceDataset:
    """Return crops of `people` x `photos` and of `singles` people with one photo."""
    draw = np.random.default_rng(seed)
    crops, persons, negative_only = [], [], []
    for person in range(people + singles):
        pattern = draw.integers(0, 256, (4, 4, 3)).repeat(28, axis=0).repeat(28, axis=1)
        for _ in range(photos if person < people else 1):
            noisy = pattern + draw.normal(0, noise, (112, 112, 3))
            crops.append(np.clip(noisy, 0, 255).astype(np.uint8))
            persons.append(f"Person_{person:03d}")
            negative_only.append(person >= people)
    return FaceDataset.of(np.stack(crops), np.arange(len(crops)), persons, np.array(negative_only))


def tiny_training(**changes: object) -> Train:
    """Return settings of a run of seconds."""
    small: dict[str, object] = {
        "backbone": "mobilefacenet",
        "embedding_size": 16,
        "input_size": 32,
        "colour": "grey",
        "people_per_batch": 3,
        "photos_per_person": 2,
        "negatives_per_batch": 2,
        "warmup_epochs": 1,
        "triplet_epochs": 2,
        "device": "cpu",
    }
    return Train.model_validate(small | changes)


def small_network(
    middle: nn.Module | None = None, channels: int = 4, dropout: float = 0
) -> Embedder:
    """Return a network that trains and compiles in little time, without batch normalisation."""
    torch.manual_seed(0)
    stem = nn.Conv2d(1, channels, 4, stride=4)
    trunk = nn.Sequential(InputStage(32, "grey"), stem, middle or nn.Identity())
    layers = [nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * 64, 16)]
    return Embedder("small", 16, trunk, nn.Sequential(*layers), 32, "grey")


def pixel_inputs(train: FaceDataset, val: FaceDataset, settings: Train) -> PixelInputs:
    """Return the inputs of a run that trains all layers on the CPU."""
    return PixelInputs(train, val, torch.device("cpu"), settings)
