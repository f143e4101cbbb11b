"""Hold tables against expectations by Great Expectations; the outcome is plain and sorted."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceops.base.errors import FaceOpsError

if TYPE_CHECKING:
    from faceops.dataset.validate import Held

_EXAMPLES = 20


@dataclass(frozen=True)
class Outcome:
    """What came of one named expectation.

    Attributes:
        name: of `faceops.config.sections.Expectation`.
        hard: whether its failure stops the pipeline.
        success: whether it held.
        checked, failed: rows.
        examples: some failing rows (a path, a person), sorted.
        observed: the value of a figure that failed, for expectations on one figure.
    """

    name: str
    hard: bool
    success: bool
    checked: int
    failed: int
    examples: list[str]
    observed: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        return asdict(self)


def great_expectations_classes() -> Any:
    """Return Great Expectations' module of expectation classes; the import takes seconds."""
    import great_expectations.expectations as classes

    return classes


def hold_against(tables: "Sequence[Held]", hard: Sequence[str], docs: Path | None) -> list[Outcome]:
    """Return the outcome of every named expectation on `tables`, sorted by name.

    Args:
        docs: folder to write the Data Docs (HTML) to, replacing it; None for nowhere.
    """
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    results: dict[str, list[tuple[Any, Held]]] = {}
    with tempfile.TemporaryDirectory(prefix="faceops-expectations-") as work:
        context = gx.get_context(mode="file", project_root_dir=work)
        context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
        source = context.data_sources.add_pandas("faceops")
        for table in tables:
            asset = source.add_dataframe_asset(table.name)
            batch = asset.add_batch_definition_whole_dataframe("all")
            suite = context.suites.add(gx.ExpectationSuite(name=table.name))
            for name, expectation in table.expectations:
                expectation.meta = {"name": name}
                expectation.severity = "critical" if name in hard else "warning"
                suite.add_expectation(expectation)
            definition = context.validation_definitions.add(
                gx.ValidationDefinition(name=table.name, data=batch, suite=suite)
            )
            ran = definition.run(
                batch_parameters={"dataframe": table.frame},
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": [table.key],
                },
            )
            for result in ran.results:
                assert result.expectation_config is not None  # always set by `run`
                name = result.expectation_config.meta["name"]
                results.setdefault(name, []).append((result, table))
        if docs is not None:
            context.build_data_docs()
            _keep_docs(Path(work), docs)
    return [_outcome(name, results[name], name in hard) for name in sorted(results)]


def _outcome(name: str, results: "list[tuple[Any, Held]]", hard: bool) -> Outcome:
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
    return Outcome(
        name=name,
        hard=hard,
        success=all(result.success for result, _ in results),
        checked=sum(len(table.frame) for table in {id(t): t for _, t in results}.values()),
        failed=len(failing),
        examples=sorted(failing)[:_EXAMPLES],
        observed=observed,
    )


def _keep_docs(work: Path, docs: Path) -> None:
    built = work / "gx" / "uncommitted" / "data_docs" / "local_site"
    try:
        docs.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(docs, ignore_errors=True)
        shutil.copytree(built, docs)
    except OSError as error:
        raise FaceOpsError(
            f"{docs} cannot be written ({error}); remove it or give permission."
        ) from None


def stop_on_hard_failures(outcomes: Sequence[Outcome], where: str) -> list[str]:
    """Return a sentence for each soft failure.

    Args:
        where: the file with the details, for the message.

    Raises:
        FaceOpsError: a hard expectation failed.
    """
    failed = [outcome for outcome in outcomes if not outcome.success]
    if hard := [outcome for outcome in failed if outcome.hard]:
        first = "; ".join(_told(outcome) for outcome in hard)
        raise FaceOpsError(
            f"hard expectations failed: {first}. See {where}, mend the photos, or take the name "
            "out of validate.hard in params.yaml."
        )
    return [f"warning: expectation {_told(outcome)}" for outcome in failed]


def _told(outcome: Outcome) -> str:
    if outcome.observed is not None:
        return f"{outcome.name} (is {outcome.observed:g})"
    example = f", for instance {outcome.examples[0]}" if outcome.examples else ""
    return f"{outcome.name} ({outcome.failed} of {outcome.checked}{example})"
