"""Hold a run's table against what every table of records must be, by Great Expectations."""

from pathlib import Path

import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.dataset.expectations import Held
from faceops.dataset.hold_against import Outcome, great_expectations_classes, hold_against
from faceops.identification.outcome import Outcome as Decided

_NUMBERS = ("detector_score", "quality", "probability", "runner_up_probability")


def check_records(records: Path) -> list[Outcome]:
    """Return the outcome of each expectation on the Parquet file of a run, by name.

    Rows are named by photo and face. Expected: one row a face; a decision that exists; a name
    where, and only where, somebody was identified; a reason everywhere else; shares within 0 to 1;
    boxes with an area; no person twice in one photo; one run, release and contract throughout.
    """
    import pandas as pd

    gxe = great_expectations_classes()
    frame = pq.read_table(records).to_pandas()
    frame["row"] = frame["photo_path"] + " #" + frame["face_index"].astype("Int64").astype(str)
    named = frame["decision"] == Decided.IDENTIFIED
    frame["told"] = (frame["person"].notna() == named) & (frame["reason"].isna() == named)
    is_face = frame["face_index"].notna()
    frame["has_box"] = ~is_face | ((frame["width"] > 0) & (frame["height"] > 0))
    twice = frame.duplicated(["photo_path", "person"], keep=False)
    frame["once"] = ~(twice & frame["person"].notna())
    expectations = [
        ("one_row_a_face", gxe.ExpectColumnValuesToBeUnique(column="row")),
        (
            "decision_exists",
            gxe.ExpectColumnValuesToBeInSet(
                column="decision", value_set=[str(each) for each in Decided]
            ),
        ),
        ("name_or_reason", gxe.ExpectColumnValuesToBeInSet(column="told", value_set=[True])),
        ("boxes_have_an_area", gxe.ExpectColumnValuesToBeInSet(column="has_box", value_set=[True])),
        (
            "nobody_twice_in_a_photo",
            gxe.ExpectColumnValuesToBeInSet(column="once", value_set=[True]),
        ),
    ]
    expectations += [
        (
            "shares_within_0_to_1",
            gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=1),
        )
        for name in _NUMBERS
    ]
    summary = pd.DataFrame({"what": ["all rows"]})
    for name in ("run_id", "release", "contract_id"):
        summary[name] = [frame[name].nunique(dropna=False) if len(frame) else 1]
    on_summary = [
        ("one_run_and_release", gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[1]))
        for name in ("run_id", "release", "contract_id")
    ]
    held = [
        Held("records", frame, "row", expectations),
        Held("run", summary, "what", on_summary),
    ]
    return hold_against(held, [name for name, _ in (*expectations, *on_summary)], None)


def require_sound_records(records: Path) -> int:
    """Return how many expectations held: all of them.

    Raises:
        FaceOpsError: one did not, with an example.
    """
    outcomes = check_records(records)
    for outcome in outcomes:
        if not outcome.success:
            example = f", for instance {outcome.examples[0]}" if outcome.examples else ""
            raise FaceOpsError(
                f"{records} fails {outcome.name} in {outcome.failed} rows{example}; do not use it, "
                "and please report this."
            )
    return len(outcomes)
