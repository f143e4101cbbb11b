"""What is expected of the photos and of the split, as Great Expectations' expectations.

Each has a name of `faceops.config.sections.Expectation`; a name may stand for several.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from faceops.base.reasons import Reason
from faceops.dataset.manifest import ACCEPTED, REJECTED
from faceops.dataset.names import name_key

if TYPE_CHECKING:
    import pandas as pd

    from faceops.dataset.hold_against import Outcome

# Two people with several photos each to train, to validate and to test.
LEAST_PEOPLE = 6

# Which reasons fail which expectation.
_REASONS = {
    "readable": (Reason.EMPTY, Reason.NOT_A_PHOTO, Reason.UNREADABLE, Reason.VANISHED),
    "format_allowed": (Reason.FORMAT_NOT_ALLOWED,),
    "size_allowed": (Reason.TOO_LARGE, Reason.TOO_SMALL),
    "names_well_formed": (Reason.BAD_NAME,),
    "one_person_a_photo": (
        Reason.DUPLICATE_OTHER_PERSON,
        Reason.NEAR_DUPLICATE_OTHER_PERSON,
    ),
    "no_duplicates": (Reason.DUPLICATE,),
}


@dataclass(frozen=True)
class Held:
    """A table and what is expected of it.

    Attributes:
        name: of the table, in reports.
        frame: the table.
        key: the column that names a row in reports.
        expectations: pairs of the expectation's name and Great Expectations' own object.
    """

    name: str
    frame: "pd.DataFrame"
    key: str
    expectations: list[tuple[str, Any]]


def check_photos(
    rows: list[dict[str, Any]],
    min_photos: int,
    max_rejected_share: float,
    hard: Sequence[str],
    docs: Path | None,
) -> "list[Outcome]":
    """Hold manifest rows against the expectations on photos and people.

    Args:
        docs: where to write the Data Docs (HTML), None for nowhere.
    """
    import pandas as pd

    from faceops.dataset.hold_against import great_expectations_classes, hold_against

    gxe = great_expectations_classes()
    photos = pd.DataFrame(rows, columns=["path", "person", "photo_id", "status", "reason"])
    # Rejected rows need a reason, accepted ones must have none: one column says both.
    photos["told"] = (photos["status"] == REJECTED) == (photos["reason"] != "")
    on_photos = [
        ("manifest_complete", gxe.ExpectColumnValuesToBeUnique(column="path")),
        ("manifest_complete", gxe.ExpectColumnValuesToNotBeNull(column="path")),
        (
            "manifest_complete",
            gxe.ExpectColumnValuesToBeInSet(column="status", value_set=[ACCEPTED, REJECTED]),
        ),
        ("manifest_complete", gxe.ExpectColumnValuesToBeInSet(column="told", value_set=[True])),
    ]
    for name, reasons in _REASONS.items():
        values = [reason.value for reason in reasons]
        on_photos.append(
            (name, gxe.ExpectColumnValuesToNotBeInSet(column="reason", value_set=values))
        )
    accepted = photos[photos["status"] == ACCEPTED]
    keys = accepted["person"].map(name_key)
    people = keys.value_counts().rename_axis("person").reset_index(name="photos")
    people = people.sort_values("person", ignore_index=True)
    on_people = [
        (
            "photos_enough",
            gxe.ExpectColumnValuesToBeBetween(column="photos", min_value=min_photos),
        )
    ]
    summary = pd.DataFrame(
        {
            "what": ["all photos"],
            "rejected_share": [float((photos["status"] == REJECTED).mean())],
            "people_with_photos": [int((people["photos"] >= min_photos).sum())],
        }
    )
    on_summary = [
        (
            "rejected_share",
            gxe.ExpectColumnValuesToBeBetween(
                column="rejected_share", max_value=max_rejected_share
            ),
        ),
        (
            "people_enough",
            gxe.ExpectColumnValuesToBeBetween(column="people_with_photos", min_value=LEAST_PEOPLE),
        ),
    ]
    held = [
        Held("photos", photos, "path", on_photos),
        Held("people", people, "person", on_people),
        Held("summary", summary, "what", on_summary),
    ]
    return hold_against(held, hard, docs)


def check_split(faces: pa.Table, min_photos: int, hard: Sequence[str]) -> "list[Outcome]":
    """Hold the split's table (columns photo_id, person, split, negative_only) against its own.

    Each person's photos are counted anew, by content, whatever made the column negative_only.
    """
    from faceops.dataset.hold_against import great_expectations_classes, hold_against

    gxe = great_expectations_classes()
    frame = faces.select(["photo_id", "person", "split", "negative_only"]).to_pandas()
    frame["person"] = frame["person"].map(name_key)
    people = frame.groupby("person").agg(
        splits=("split", "nunique"), photos=("photo_id", "nunique")
    )
    # Every row counts: a person who is negative in one photo only is neither.
    expected = frame["person"].map(people["photos"]) < min_photos
    right = (frame["negative_only"] == expected).groupby(frame["person"])
    people["told"] = right.all()
    photos = frame.groupby("photo_id").agg(splits=("split", "nunique"))
    one = {"column": "splits", "min_value": 1, "max_value": 1}
    on_people = [
        ("split_disjoint", gxe.ExpectColumnValuesToBeBetween(**one)),
        ("singles_negative_only", gxe.ExpectColumnValuesToBeInSet(column="told", value_set=[True])),
    ]
    on_photos = [("split_disjoint", gxe.ExpectColumnValuesToBeBetween(**one))]
    held = [
        Held("split_people", people.reset_index(), "person", on_people),
        Held("split_photos", photos.reset_index(), "photo_id", on_photos),
    ]
    return hold_against(held, hard, None)
