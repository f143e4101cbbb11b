"""Which photos a model has seen: where they come from, and how many of whom."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from faceops.base.files import sha256_file
from faceops.dataset.sources_file import read_sources

DATA = Path("data")


def data_seen(faces: Path, data: Path = DATA) -> dict[str, Any]:
    """Return what the model was trained on: sources, counts a split, the hash of its faces."""
    table = pq.read_table(faces, columns=["person", "split"])
    persons = np.array(table["person"].to_pylist(), dtype=str)
    split = np.array(table["split"].to_pylist(), dtype=str)
    counts = {
        name: {
            "people": len(np.unique(persons[split == name])),
            "photos": int((split == name).sum()),
        }
        for name in ("train", "val", "test")
    }
    seen: dict[str, Any] = {"faces_sha256": sha256_file(faces), "splits": counts}
    known = read_sources(data)
    return seen | ({"sources": known} if known else {})


def validation_people(people: int, data: Path = DATA) -> str:
    """Return in words whom thresholds were measured on: "20 validation people of synthetic"."""
    whence = " and ".join(sorted(read_sources(data))) or "data/photos"
    return f"{people:,} validation people of {whence}"
