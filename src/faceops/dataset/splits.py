"""Who trains, who validates, who tests: nobody is in two of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from faceops.base.errors import FaceOpsError
from faceops.dataset.manifest import ACCEPTED
from faceops.dataset.names import name_key

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)

# People with enough photos that each split needs: two make a genuine and an impostor pair.
LEAST = 2


def draw(seed: int, person: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the person's name only.

    So a person who joins or leaves moves nobody else.
    """
    digest = hashlib.sha256(f"{seed}:{name_key(person)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_randomly(
    photos: Mapping[str, int], val: float, test: float, seed: int, min_photos: int = 2
) -> dict[str, str]:
    """Return person -> split, by each person's own draw; the shares are kept approximately.

    Args:
        photos: person -> count of photos.
        val, test: shares of the people.
        min_photos: people with fewer serve as negatives only.

    Raises:
        FaceOpsError: fewer than six people with `min_photos`.
    """
    draws = {person: draw(seed, person) for person in photos}
    splits = {
        person: VAL if value < val else TEST if value < val + test else TRAIN
        for person, value in draws.items()
    }
    _fill_up(splits, photos, draws, SPLITS, min_photos)
    return splits


def split_by_lists(
    photos: Mapping[str, int],
    dev_train: Iterable[str],
    dev_test: Iterable[str],
    val: float,
    seed: int,
    min_photos: int = 2,
) -> dict[str, str]:
    """Return person -> split by LFW's official lists.

    DevTest's people test. A share `val` of DevTrain's people, by each person's own draw,
    validates, the others train; so do people who are in neither list (other sources).

    Raises:
        FaceOpsError: a split has fewer than two people with `min_photos`.
    """
    train_keys, test_keys = {name_key(p) for p in dev_train}, {name_key(p) for p in dev_test}
    if both := sorted(train_keys & test_keys):
        raise FaceOpsError(f"LFW's lists both name {both[0]}; restore the official lists.")
    draws = {person: draw(seed, person) for person in photos}
    splits = {}
    for person, value in draws.items():
        key = name_key(person)
        validates = key in train_keys and value < val
        splits[person] = TEST if key in test_keys else VAL if validates else TRAIN
    _fill_up(splits, photos, draws, (TRAIN, VAL), min_photos)
    return splits


def _fill_up(
    splits: dict[str, str],
    photos: Mapping[str, int],
    draws: Mapping[str, float],
    movable: tuple[str, ...],
    min_photos: int,
) -> None:
    """Move people with enough photos until each split has two of them, the largest giving."""
    least = max(min_photos, 2)  # of one photo there is no genuine pair

    def enough_of(split: str) -> list[str]:
        chosen = [p for p, where in splits.items() if where == split and photos[p] >= least]
        return sorted(chosen, key=lambda person: (draws[person], person))

    counts = {split: len(enough_of(split)) for split in SPLITS}
    lacking = [split for split in SPLITS if counts[split] < LEAST]
    enough = sum(counts[split] for split in movable) >= LEAST * len(movable)
    if lacking and (not enough or not set(lacking) <= set(movable)):
        raise FaceOpsError(
            f"too few people have {least} accepted photos or more: {counts[TRAIN]} to train, "
            f"{counts[VAL]} to validate, {counts[TEST]} to test, and each needs {LEAST}; "
            "import more people."
        )
    for split in lacking:
        while len(enough_of(split)) < LEAST:
            giver = max(movable, key=lambda other: len(enough_of(other)))
            splits[enough_of(giver)[0]] = split


# crop: row in crops.npy; negative_only: the person has fewer accepted photos than min_photos.
SCHEMA = pa.schema(
    [
        ("crop", pa.int32()),
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("split", pa.string()),
        ("negative_only", pa.bool_()),
    ]
)


def accepted_faces(faces: pa.Table) -> list[dict[str, Any]]:
    """Return crop, photo_id, path and person of the accepted faces, by crop."""
    rows = faces.select(["crop", "photo_id", "path", "person", "status"]).to_pylist()
    return sorted((r for r in rows if r["status"] == ACCEPTED), key=lambda row: row["crop"])


def split_table(rows: list[dict[str, Any]], splits: dict[str, str], min_photos: int) -> pa.Table:
    """Return the table of the schema for `rows` of `accepted_faces` and person -> split.

    Args:
        min_photos: people with fewer accepted photos serve as negatives only.
    """
    photos = Counter(row["person"] for row in rows)
    few = {person for person, count in photos.items() if count < min_photos}
    told = [
        {**row, "split": splits[row["person"]], "negative_only": row["person"] in few}
        for row in rows
    ]
    return pa.Table.from_pylist(told, schema=SCHEMA)


def split_figures(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return for each split its people, those not negative only, and its photos."""
    figures = {}
    for split in SPLITS:
        rows = [row for row in table.to_pylist() if row["split"] == split]
        people = {row["person"]: row["negative_only"] for row in rows}
        figures[split] = {
            "people": len(people),
            "people_with_several_photos": sum(not few for few in people.values()),
            "photos": len(rows),
        }
    return figures
