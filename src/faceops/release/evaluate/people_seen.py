"""Which people of an evaluation a model was trained or calibrated on, as far as is known."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.files import sha256_file
from faceops.dataset.names import name_key
from faceops.release.evaluate.measured_model import MeasuredModel


@dataclass(frozen=True)
class PeopleSeen:
    """The people that a model has seen.

    Attributes:
        split: person -> "train" or "val"; None where the model's people are not known.
        message: the same in one sentence.
        photos: sha256 of all photos that trained or calibrated it, of any person.
    """

    split: dict[str, str] | None
    message: str
    photos: frozenset[str] = frozenset()

    def figures(self) -> dict[str, Any]:
        """Return counts and the sentence, for JSON."""
        splits = None if self.split is None else list(self.split.values())
        return {
            "known": splits is not None,
            "trained_on": None if splits is None else splits.count("train"),
            "calibrated_on": None if splits is None else splits.count("val"),
            "told": self.message,
        }


def people_seen(model: MeasuredModel, people: Iterable[str], split_file: Path) -> PeopleSeen:
    """Return which of `people` trained or calibrated `model`.

    A release states the sha256 of the split that it was made from, not the people's names: they
    are known if `split_file` has that sha256.
    """
    outside = (
        f"its weights ({model.source or 'of unknown origin'}) may have been trained on photos of "
        "these people"
    )
    if model.bundle is None:
        return PeopleSeen(None, f"{model.name} was made elsewhere: {outside}")
    if model.source.endswith("trained from scratch by this pipeline"):
        outside = "its weights were trained on nothing else"
    rows = _read_split(split_file, model.bundle.release.data.get("faces_sha256", ""))
    if rows is None:
        return PeopleSeen(
            None,
            f"{split_file} is not the split that {model.name} was made from, so the people it has "
            f"seen are not known; {outside}",
        )
    used = [row for row in rows if row["split"] != "test"]
    split_of = {name_key(row["person"]): row["split"] for row in used}
    keys = {person: name_key(person) for person in people}
    seen = {person: split_of[key] for person, key in keys.items() if key in split_of}
    trained = list(seen.values()).count("train")
    return PeopleSeen(
        seen,
        f"of {len(keys)} people, {trained} trained {model.name} and {len(seen) - trained} "
        f"calibrated it; {outside}",
        frozenset(row["photo_id"] for row in used),
    )


def _read_split(split_file: Path, wanted: str) -> list[dict[str, str]] | None:
    """Return person, photo_id and split of each face, None unless the sha256 is `wanted`."""
    try:
        if not wanted or sha256_file(split_file) != wanted:
            return None
        table = pq.read_table(split_file, columns=["person", "photo_id", "split"])
    except (OSError, pa.ArrowException):
        return None
    rows: list[dict[str, str]] = table.to_pylist()
    return rows
