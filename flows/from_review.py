"""The part of a rebuild that learns from a review: new data, a start, what it bought."""

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, write_json
from faceops.config.params_file import experiment_file, read_params, write_params
from faceops.embedding.backbones.build import check_train_params
from faceops.gallery.store import Gallery
from faceops.identification.inputs import IdentifySettings
from faceops.review.training_data import ReviewedImport, import_reviewed, teaching_decisions
from flows.identify import load_model

EXPERIMENT = "reviewed"  # the override file of a rebuild from a review
STARTS = Path("build") / "start"  # weights of champions, by version
MIN_DECISIONS = 50
# The ids of the decisions behind the last import, and behind the last version that came of one.
IMPORTED, LEARNED = Path("build") / "decisions_imported.json", Path("build") / "decisions.json"
THREADS = 2


@task(cache_policy=NO_CACHE)
def import_decisions(root: Path, gallery: Path, least: int) -> tuple[int, ReviewedImport | None]:
    """Bring the reviewed faces in data/ up to date if at least `least` decisions are new.

    New are those since the last version that `note_learned` was called for, and those of it that
    were undone or forgotten since. Returns how many, and what was imported, None if they are fewer.

    Raises:
        FaceOpsError: as `import_reviewed`.
    """
    decisions = teaching_decisions(gallery)
    new = len(decisions ^ _learned(root))
    if new < max(least, 1):
        return new, None
    settings = IdentifySettings(precision="auto")
    bundle = load_model("", settings, gallery, get_run_logger().info)
    Gallery.open(gallery, bundle.release.contract_id)
    done = import_reviewed(gallery, root / "data", bundle, THREADS)
    write_json(root / IMPORTED, {"decisions": sorted(decisions)})
    return new, done


def note_learned(root: Path) -> None:
    """Note that a version was registered that comes of the last import."""
    (root / IMPORTED).replace(root / LEARNED)


def _learned(root: Path) -> set[str]:
    try:
        return set(map(str, read_json_object(root / LEARNED)["decisions"]))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{root / LEARNED} cannot be read ({error}); remove it: all decisions are new then."
        ) from None


@task(cache_policy=NO_CACHE)
def write_review_params(root: Path, experiment: str) -> str:
    """Write params.yaml of `experiment` with the champion's weights as the start; return the start.

    It is "" where there is no champion, or where its run does not keep its weights: training then
    starts as `experiment` says.

    Raises:
        UsageError: the champion is of another backbone than `experiment`.
        FaceOpsError: the store does not answer.
    """
    from faceops.registry.fetch import fetch_artifact
    from faceops.registry.store import TRAINED_ARTIFACT, champion, use_tracking

    use_tracking(root)
    path = experiment_file(root, experiment)
    params = read_params(path)
    current, start = champion(), ""
    if current is not None:
        folder = STARTS / str(current.version)
        found = fetch_artifact(current, TRAINED_ARTIFACT, root / folder)
        start = (folder / found.relative_to(root / folder)).as_posix() if found else ""
        if not found:
            get_run_logger().warning(
                "%s keeps no weights to start from; training starts as %s says",
                current.address,
                path,
            )
    train = params.train.model_copy(update={"start": start})
    check_train_params(train, path)
    write_params(params.model_copy(update={"train": train}), root / "params.yaml")
    return start


def review_report(done: ReviewedImport, start: str, result: dict[str, Any]) -> str:
    """Return Markdown: what the corrections are, and what they bought on people not reviewed."""
    left_out = "; ".join(f"{count} {why}" for why, count in sorted(done.left_out.items()) if count)
    rows = [line for line in result["verdict"].splitlines() if line.startswith("| ")]
    lines = [
        f"Version {result['version']}: {done.photos} confirmed faces of {done.people} people, "
        f"{done.strangers} ignored strangers, {done.hard_negatives} pairs of people who were taken "
        f"for each other; {done.written} crops are new, {done.removed} left.",
        f"Training started from {start or 'the published weights'}.",
        *([f"Faces left out: {left_out}."] if left_out else []),
        f"Gate: {result['gate'] or 'not measured'}; {result['message']}.",
    ]
    if rows:
        lines += ["On people whom no review touched:", "\n".join(rows)]
    return "\n\n".join(lines) + "\n"


def report_review(done: ReviewedImport, start: str, result: dict[str, Any]) -> str:
    """Publish `review_report`, and return it."""
    text = review_report(done, start, result)
    create_markdown_artifact(key="review", markdown=text)
    return text
