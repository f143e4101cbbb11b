"""Which of the people of an evaluation a model has seen before, as far as can be known."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.files import sha256_file
from faceops.dataset.names import name_key
from faceops.release.evaluate.measured_model import MeasuredModel

_UNSEEN = "test"


@dataclass(frozen=True)
class PeopleSeen:
    """`split` gives person -> train or val; None where the model's people are not known.

    `photos` are the sha256 of all photos that trained or calibrated it, whoever is asked for.
    """

    split: dict[str, str] | None
    told: str
    photos: frozenset[str] = frozenset()

    def figures(self) -> dict[str, Any]:
        """Counts and the sentence, for JSON."""
        seen = self.split
        return {
            "known": seen is not None,
            "trained_on": None if seen is None else sum(s == "train" for s in seen.values()),
            "calibrated_on": None if seen is None else sum(s == "val" for s in seen.values()),
            "told": self.told,
        }


def people_seen(model: MeasuredModel, people: Iterable[str], split_file: Path) -> PeopleSeen:
    """Return who of `people` trained or calibrated `model`.

    A release states the sha256 of the split that it was made from, not its names: they are known
    where `split_file` is that very file.
    """
    outside = (
        f"that its weights ({model.source or 'of unknown origin'}) were made from photos of these "
        "people cannot be ruled out"
    )
    if model.bundle is None:
        return PeopleSeen(None, f"{model.name} was made elsewhere: {outside}")
    if model.source.endswith("trained from scratch by this pipeline"):
        outside = "its weights were trained on nothing else"
    names = _read_split(split_file, model.bundle.release.data.get("faces_sha256", ""))
    if names is None:
        return PeopleSeen(
            None,
            f"{split_file} is not the split that {model.name} was made from, so whom it has seen "
            f"is not known; {outside}",
        )
    keys = {person: name_key(person) for person in people}
    split = names.of_people
    seen = {person: split[key] for person, key in keys.items() if key in split}
    seen = {person: split for person, split in seen.items() if split != _UNSEEN}
    trained = sum(split == "train" for split in seen.values())
    return PeopleSeen(
        seen,
        f"of {len(keys)} people, {trained} trained {model.name} and {len(seen) - trained} "
        f"calibrated it; {outside}",
        names.photos,
    )


@dataclass(frozen=True)
class _Split:
    """Of a split's file: the name's key -> split; photos that were not only tested on."""

    of_people: dict[str, str]
    photos: frozenset[str]


def _read_split(split_file: Path, wanted: str) -> _Split | None:
    """Return what the file says, None unless it has the sha256 `wanted`."""
    try:
        if not wanted or sha256_file(split_file) != wanted:
            return None
        table = pq.read_table(split_file, columns=["person", "photo_id", "split"])
    except (OSError, pa.ArrowException):
        return None
    rows = table.to_pylist()
    return _Split(
        {name_key(row["person"]): row["split"] for row in rows},
        frozenset(row["photo_id"] for row in rows if row["split"] != _UNSEEN),
    )
