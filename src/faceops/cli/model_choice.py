"""Which release a command works with: the one that its arguments name, else a rule chooses.

Without --model and --bundle it is the published release, or the champion of the registry:

1. A gallery keeps the release that it was enrolled under, where that is one of the two. Where both
   have its embedder, it is the champion, unless that was calibrated on synthetic people.
2. Else the champion, if it was calibrated on photos of real people.
3. Else the published release.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import read_json_object
from faceops.registry import PUBLISHED, NoReleaseError, has_store, published_statement
from faceops.release.release_file import RELEASE_FILE, PrecisionChoice, is_of, is_synthetic

if TYPE_CHECKING:
    from faceops.registry.fetch import FetchedRelease

CHAMPION = "models:/faceops@champion"


@dataclass(frozen=True)
class Choice:
    """A release: its address, and why it was chosen; `why` is "" if an argument named it."""

    model: str
    why: str

    def __str__(self) -> str:
        published = "the published release (SFace and dlib, calibrated on LFW)"
        return f"using {published if self.model == PUBLISHED else self.model}: {self.why}"


def choose_model(contract_id: str, precision: PrecisionChoice, root: Path) -> Choice:
    """Return the release for a gallery under `contract_id`; "" for none. See above.

    MLflow is imported only if there is a registry to ask.

    `root`: the folder of the local MLflow store if no server is set.

    Raises:
        FaceOpsError: the registry does not answer, and the cache has no champion of it.
    """
    is_of_published = is_of(published_statement(), precision, contract_id)
    published = Choice(PUBLISHED, "the gallery was enrolled under it") if is_of_published else None
    if not has_store(root):
        why = f"there is no registry (MLFLOW_TRACKING_URI is not set, {root} has no mlflow.db)"
        return published or Choice(PUBLISHED, why)
    try:
        found: FetchedRelease = import_registry(CHAMPION).find_release(CHAMPION, root)
        content = read_json_object(found.folder / RELEASE_FILE)
    except NoReleaseError as error:
        return published or Choice(PUBLISHED, str(error).partition(";")[0])
    except FaceOpsError:
        if published is None:
            raise
        return published
    except (OSError, ValueError):  # loading it says what is wrong
        return published or Choice(CHAMPION, "it is the registry's champion")
    data = content.get("data") or {}
    is_of_champion = is_of(content, precision, contract_id)
    if published is not None and (is_synthetic(data) or not is_of_champion):
        return published
    if is_of_champion:
        return Choice(CHAMPION, f"the gallery was enrolled under {found.name}")
    if is_synthetic(data):
        return Choice(PUBLISHED, f"the champion, {found.name}, was calibrated on synthetic people")
    sources = ", ".join(sorted(data.get("sources") or {})) or "photos of real people"
    return Choice(CHAMPION, f"{found.name} was calibrated on {sources}")


def import_registry(model: str) -> ModuleType:
    """Import the registry, which needs MLflow, to find `model`.

    Raises:
        UsageError: it is not installed, and `model` is no address of a release.
        NoReleaseError: it is not installed.
    """
    try:
        from faceops.registry import fetch
    except ModuleNotFoundError:
        if not model.startswith("models:/"):
            raise UsageError(
                f"{model!r} names no release; write {CHAMPION} or {PUBLISHED}."
            ) from None
        raise NoReleaseError(
            f"{model} needs MLflow, which is not installed; pip install 'faceops[rebuild]', or give"
            f" --model {PUBLISHED} or --bundle DIR."
        ) from None
    return fetch


def warning_of(folder: Path, name: str) -> str:
    """Return the warning for a release in `folder` that was made of synthetic people, else ""."""
    try:
        content = read_json_object(folder / RELEASE_FILE)
    except (OSError, ValueError):  # loading the release says what is wrong
        return ""
    if not is_synthetic(content.get("data")):
        return ""
    return (
        f"{name} was calibrated on synthetic people: for photos of real people its budgets promise "
        f"nothing, use --model {PUBLISHED}"
    )
