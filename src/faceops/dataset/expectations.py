"""What is expected of photos and splits, by the names of `config.sections.Expectation`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from faceops.base.reasons import Reason
from faceops.config.sections import Validate
from faceops.dataset.manifest import ACCEPTED, REJECTED
from faceops.dataset.names import name_key
from faceops.dataset.run_expectations import (
    CheckedTable,
    ExpectationResult,
    expect,
    run_expectations,
)

MIN_PEOPLE = 6  # with several photos each: two to train, to validate and to test

# The reasons for rejection that fail an expectation.
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


def check_photos(
    rows: list[dict[str, Any]], settings: Validate, docs: Path | None = None
) -> list[ExpectationResult]:
    """Check the rows of a manifest.

    Args:
        rows: one per photo, with the columns of `manifest.SCHEMA`.
        settings: min_photos, max_rejected_share and hard are used.
        docs: folder for the Data Docs (HTML); None writes none.
    """
    import pandas as pd

    photos = pd.DataFrame(rows, columns=["path", "person", "photo_id", "status", "reason"])
    rejected = photos["status"] == REJECTED
    photos["has_its_reason"] = rejected == (photos["reason"] != "")
    people = photos.loc[~rejected, "person"].map(name_key).value_counts(sort=False).sort_index()
    summary = pd.DataFrame(
        {
            "rows": ["all photos"],
            "rejected_share": [float(rejected.mean())],
            "people": [int((people >= settings.min_photos).sum())],
        }
    )
    complete = "manifest_complete"
    on_photos = [
        expect(complete, "BeUnique", "path"),
        expect(complete, "NotBeNull", "path"),
        expect(complete, "BeInSet", "status", value_set=[ACCEPTED, REJECTED]),
        expect(complete, "BeInSet", "has_its_reason", value_set=[True]),
    ]
    for name, reasons in _REASONS.items():
        on_photos.append(expect(name, "NotBeInSet", "reason", value_set=[*map(str, reasons)]))
    on_people = [expect("photos_enough", "BeBetween", "photos", min_value=settings.min_photos)]
    share = "rejected_share"
    on_summary = [
        expect(share, "BeBetween", share, max_value=settings.max_rejected_share),
        expect("people_enough", "BeBetween", "people", min_value=MIN_PEOPLE),
    ]
    tables = [
        CheckedTable("photos", photos, "path", on_photos),
        CheckedTable(
            "people", people.rename_axis("person").reset_index(name="photos"), "person", on_people
        ),
        CheckedTable("summary", summary, "rows", on_summary),
    ]
    return run_expectations(tables, settings.hard, docs)


def check_split(faces: pa.Table, min_photos: int, hard: Sequence[str]) -> list[ExpectationResult]:
    """Check the table of the stage split.

    The photos of each person are counted again by their content, whatever the reason that made
    the person negative_only.

    Args:
        faces: with the columns photo_id, person, split, negative_only.
        min_photos: people with fewer must be negative_only.
        hard: names of expectations whose failure stops the pipeline.
    """
    frame = faces.select(["photo_id", "person", "split", "negative_only"]).to_pandas()
    frame["person"] = frame["person"].map(name_key)
    people = frame.groupby("person").agg(
        splits=("split", "nunique"), photos=("photo_id", "nunique")
    )
    # All rows of a person must agree.
    right = frame["negative_only"] == (frame["person"].map(people["photos"]) < min_photos)
    people["is_negative_only_if_few"] = right.groupby(frame["person"]).all()
    photos = frame.groupby("photo_id").agg(splits=("split", "nunique"))
    disjoint = expect("split_disjoint", "BeBetween", "splits", min_value=1, max_value=1)
    negative_only = expect(
        "singles_negative_only", "BeInSet", "is_negative_only_if_few", value_set=[True]
    )
    tables = [
        CheckedTable("split_people", people.reset_index(), "person", [disjoint, negative_only]),
        CheckedTable("split_photos", photos.reset_index(), "photo_id", [disjoint]),
    ]
    return run_expectations(tables, hard)
