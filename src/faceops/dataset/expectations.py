"""Check photos and splits with Great Expectations; results are plain data, sorted by name."""

import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from faceops.base.errors import FaceOpsError
from faceops.base.reasons import Reason
from faceops.config.sections import Validate
from faceops.dataset.data_folder import ACCEPTED, REJECTED
from faceops.dataset.names import name_key

if TYPE_CHECKING:
    import pandas as pd

_MAX_EXAMPLES = 20


@dataclass(frozen=True)
class ColumnExpectation:
    name: str  # in reports and in validate.hard; several expectations may share it
    kind: str  # the class in `great_expectations.expectations`, without "ExpectColumnValuesTo"
    column: str
    options: dict[str, Any]  # further arguments of that class


def expect(name: str, kind: str, column: str, **options: Any) -> ColumnExpectation:
    """Return an expectation, such as expect("unique", "BeUnique", "path")."""
    return ColumnExpectation(name, kind, column, options)


@dataclass(frozen=True)
class CheckedTable:
    name: str  # of the table, in the Data Docs
    frame: "pd.DataFrame"  # of one row: the value of a failing expectation is reported
    key: str  # the column that names a row in results
    expectations: list[ColumnExpectation]


@dataclass(frozen=True)
class ExpectationResult:
    name: str
    hard: bool  # whether a failure stops the pipeline
    success: bool  # whether no row failed
    checked: int  # rows
    failed: int  # rows
    examples: list[str]  # at most 20 failing rows by their key, sorted
    observed: float | None = None  # the value that failed, in a table of one row

    def __str__(self) -> str:
        if self.observed is not None:
            return f"{self.name} (is {self.observed:g})"
        example = f", for instance {self.examples[0]}" if self.examples else ""
        return f"{self.name} ({self.failed} of {self.checked}{example})"


def run_expectations(
    tables: Sequence[CheckedTable], hard: Sequence[str] = (), docs: Path | None = None
) -> list[ExpectationResult]:
    """Check `tables` and return one result per name of an expectation, sorted by name.

    A failure of those named in `hard` stops the pipeline. `docs` is the folder for the Data Docs
    (HTML), which is replaced; None writes none.

    Raises FaceOpsError: an expectation could not be evaluated, or `docs` cannot be written.
    """
    import great_expectations as gx  # takes seconds
    import great_expectations.expectations as classes
    from great_expectations.checkpoint.actions import UpdateDataDocsAction

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it raises errors as well
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    actions: list[Any] = []
    if docs is not None:
        # The results of one run, since they name photos and people.
        shutil.rmtree(docs, ignore_errors=True)
        sites: Any = context.variables.data_docs_sites
        sites["local_site"]["store_backend"]["base_directory"] = str(docs.resolve())
        context.variables.data_docs_sites = sites
        actions.append(UpdateDataDocsAction(name="write Data Docs"))
    source = context.data_sources.add_pandas("faceops")
    results: dict[str, list[tuple[Any, CheckedTable]]] = {}
    for table in tables:
        suite = context.suites.add(gx.ExpectationSuite(name=table.name))
        for each in table.expectations:
            make = getattr(classes, f"ExpectColumnValuesTo{each.kind}")
            expectation = make(column=each.column, **each.options)
            expectation.meta = {"name": each.name}
            expectation.severity = "critical" if each.name in hard else "warning"
            suite.add_expectation(expectation)
        asset = source.add_dataframe_asset(table.name)
        batch = asset.add_batch_definition_whole_dataframe("all")
        validation = context.validation_definitions.add(
            gx.ValidationDefinition(name=table.name, data=batch, suite=suite)
        )
        # A checkpoint for each table: all definitions of one are given the same data frame.
        checkpoint = gx.Checkpoint(
            name=table.name,
            validation_definitions=[validation],
            actions=actions,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [table.key],
            },
        )
        try:
            ran = checkpoint.run(batch_parameters={"dataframe": table.frame})
        except OSError as error:
            raise FaceOpsError(
                f"{docs} cannot be written ({error}); remove it or give permission."
            ) from None
        ((identifier, checked),) = ran.run_results.items()
        for result in checked.results:
            assert result.expectation_config is not None  # always set by `run`
            name = result.expectation_config.meta["name"]
            results.setdefault(name, []).append((result, table))
        if docs is not None and not checked.success:
            for site in context.get_docs_sites_urls(resource_identifier=identifier):
                sentence = f"{table.name}: expectations are not met; open {site['site_url']}"
                print(f"warning: {sentence}", file=sys.stderr)
    return [_merge(name, results[name], name in hard) for name in sorted(results)]


def _merge(name: str, results: list[tuple[Any, CheckedTable]], hard: bool) -> ExpectationResult:
    failing: set[str] = set()
    observed = None
    for result, table in results:
        if result.exception_info.get("raised_exception"):
            raise FaceOpsError(
                f"the expectation {name} could not be checked: "
                f"{result.exception_info.get('exception_message')}; please report this."
            )
        failing |= {str(row[table.key]) for row in result.result.get("unexpected_index_list") or []}
        if len(table.frame) == 1 and not result.success:
            observed = round(float(result.result["unexpected_list"][0]), 6)
    return ExpectationResult(
        name=name,
        hard=hard,
        success=all(result.success for result, _ in results),
        checked=sum(len(table.frame) for table in {id(t): t for _, t in results}.values()),
        failed=len(failing),
        examples=sorted(failing)[:_MAX_EXAMPLES],
        observed=observed,
    )


def stop_on_hard_failures(results: Sequence[ExpectationResult], report: str) -> list[str]:
    """Return one warning for each failed expectation that is not hard.

    `report`: the files with the details, for the message.

    Raises FaceOpsError: a hard expectation failed.
    """
    failed = [result for result in results if not result.success]
    if hard := [result for result in failed if result.hard]:
        raise FaceOpsError(
            f"hard expectations failed: {'; '.join(map(str, hard))}. See {report}, correct the "
            "photos, or take the name out of validate.hard in params.yaml."
        )
    return [f"warning: expectation {result}" for result in failed]


MIN_PEOPLE = 6  # with several photos each: two to train, to validate and to test

# The reasons for rejection that fail an expectation.
_REASONS = {
    "readable": (
        *(Reason.EMPTY, Reason.NOT_A_PHOTO, Reason.UNSUPPORTED_FORMAT),
        *(Reason.UNREADABLE, Reason.VANISHED),
    ),
    "format_allowed": (Reason.FORMAT_NOT_ALLOWED,),
    "size_allowed": (Reason.TOO_LARGE, Reason.TOO_SMALL),
    "names_well_formed": (Reason.BAD_NAME,),
    "one_person_a_photo": (Reason.DUPLICATE_OTHER_PERSON, Reason.NEAR_DUPLICATE_OTHER_PERSON),
    "no_duplicates": (Reason.DUPLICATE,),
}


def check_photos(
    rows: list[dict[str, Any]], settings: Validate, docs: Path | None = None
) -> list[ExpectationResult]:
    """Check the rows of a manifest, with the columns of `data_folder.SCHEMA`.

    Of `settings` min_photos, max_rejected_share and hard are used; `docs`: see `run_expectations`.
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
        *(expect(n, "NotBeInSet", "reason", value_set=[*map(str, r)]) for n, r in _REASONS.items()),
    ]
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
    """Check the table of the stage split, with photo_id, person, split and negative_only.

    The photos of each person are counted again by their content, whatever the reason that made the
    person negative_only. People with fewer than `min_photos` must be; `hard`: see
    `run_expectations`.
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
