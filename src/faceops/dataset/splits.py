"""Assign people to training, validation and test; no person is in two of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from faceops.base.errors import FaceOpsError
from faceops.dataset.data_folder import ACCEPTED, PERSON, STRANGER, ReviewedFace
from faceops.dataset.names import name_key

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)

# People with several photos in each split: two of them give genuine and impostor pairs.
MIN_PEOPLE = 2


def draw(seed: int, person: str) -> float:
    """Return a number in [0, 1) from the seed and the person's name only.

    A person who is added or removed therefore changes no other person's split.
    """
    digest = hashlib.sha256(f"{seed}:{name_key(person)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_people(
    photos: Mapping[str, int],
    shares: tuple[float, float],
    seed: int,
    min_photos: int = 2,
    lists: tuple[Iterable[str], Iterable[str]] | None = None,
) -> dict[str, str]:
    """Return person -> split, by `draw`; the shares are approximate.

    With LFW's official lists DevTest's people are for test, DevTrain's for training and, by their
    share, for validation. People in neither list, of other sources, are split by `draw`.

    Args:
        photos: person -> count of photos.
        shares: of validation people, and of test people.
        min_photos: people with fewer are used as negatives only.
        lists: names in DevTrain and in DevTest, in any spelling.

    Raises FaceOpsError: a split has fewer than two people with `min_photos`, or a person is in both
    lists.
    """
    dev_train, dev_test = ({name_key(name) for name in names} for names in lists or ((), ()))
    if both := sorted(dev_train & dev_test):
        raise FaceOpsError(f"LFW's lists both name {both[0]}; restore the official lists.")
    draws = {person: draw(seed, person) for person in photos}
    val, test = shares
    splits = {}
    for person, value in draws.items():
        key = name_key(person)
        is_test = key in dev_test or (key not in dev_train and val <= value < val + test)
        splits[person] = TEST if is_test else VAL if value < val else TRAIN
    _fill_up(splits, photos, draws, (TRAIN, VAL) if lists else SPLITS, min_photos)
    return splits


def _fill_up(
    splits: dict[str, str],
    photos: Mapping[str, int],
    draws: Mapping[str, float],
    movable: tuple[str, ...],
    min_photos: int,
) -> None:
    """Move people with several photos until each split has two; the largest split gives."""
    least = max(min_photos, 2)  # one photo gives no genuine pair

    def with_several(split: str) -> list[str]:
        chosen = [p for p, where in splits.items() if where == split and photos[p] >= least]
        return sorted(chosen, key=lambda person: (draws[person], person))

    counts = {split: len(with_several(split)) for split in SPLITS}
    lacking = [split for split in SPLITS if counts[split] < MIN_PEOPLE]
    enough = sum(counts[split] for split in movable) >= MIN_PEOPLE * len(movable)
    if lacking and (not enough or not set(lacking) <= set(movable)):
        raise FaceOpsError(
            f"too few people have {least} accepted photos or more: {counts[TRAIN]} to train, "
            f"{counts[VAL]} to validate, {counts[TEST]} to test, and each needs {MIN_PEOPLE}; "
            "import more people."
        )
    for split in lacking:
        while len(with_several(split)) < MIN_PEOPLE:
            giver = max(movable, key=lambda other: len(with_several(other)))
            splits[with_several(giver)[0]] = split


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

    `min_photos`: people with fewer accepted photos are used as negatives only.
    """
    photos = Counter(row["person"] for row in rows)
    table = [
        {**row, "split": splits[row["person"]], "negative_only": photos[row["person"]] < min_photos}
        for row in rows
    ]
    return pa.Table.from_pylist(table, schema=SCHEMA)


def split_figures(table: pa.Table) -> dict[str, dict[str, int]]:
    """Return the numbers of people and photos of each split."""
    figures = {}
    for split in SPLITS:
        rows = [row for row in table.to_pylist() if row["split"] == split]
        figures[split] = {
            "people": len({row["person"] for row in rows}),
            "people_with_several_photos": len(
                {row["person"] for row in rows if not row["negative_only"]}
            ),
            "photos": len(rows),
        }
    return figures


def reviewed_splits(people: Iterable[str], faces: Iterable[ReviewedFace]) -> dict[str, str]:
    """Return those of `people` (folders) whom the review touched -> split.

    Confirmed people are for training, whatever other photos they have; strangers for validation.
    """
    kinds = {name_key(face.person): face.kind for face in faces}
    of_kind = {PERSON: TRAIN, STRANGER: VAL}
    return {person: of_kind[kinds[key]] for person in people if (key := name_key(person)) in kinds}
