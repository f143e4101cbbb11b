"""What an unchanged run reads of release.json, without loading NumPy and pydantic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object

RELEASE_FILE = "release.json"
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PrecisionChoice = Literal["float32", "int8", "auto"]  # auto: see `precision_for`
PRECISION_CHOICES: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)


class DamagedBundleError(FaceOpsError):
    """A file of a bundle was changed after it was written."""


def default_budget(bundle: Path, precision: str = "float32") -> float | None:
    """Return the default budget of the release in `bundle`, None if it cannot be read.

    It reads no more than needed to find an earlier run; `Bundle.load` reports what is wrong.
    """
    try:
        content = read_json_object(bundle / RELEASE_FILE)
        chosen = content if precision == "float32" else content[precision]
        return float(chosen["thresholds"]["default_budget"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stated_contract(content: Mapping[str, Any], precision: Precision = "float32") -> str:
    """Return the contract id that the `content` of a release.json states, "" if it has none."""
    chosen = content if precision == "float32" else content.get(precision) or {}
    return str(chosen.get("contract_id", ""))


def precision_for(
    content: Mapping[str, Any], choice: PrecisionChoice, contract_id: str
) -> Precision:
    """Return `choice`; of auto int8 if the release.json `content` has it under `contract_id`."""
    if choice != "auto":
        return choice
    return "int8" if contract_id and contract_id == stated_contract(content, "int8") else "float32"


def is_of(content: Mapping[str, Any], choice: PrecisionChoice, contract_id: str) -> bool:
    """Return whether the release.json `content` states `contract_id` for its embedder `choice`."""
    precision = precision_for(content, choice, contract_id)
    return bool(contract_id) and contract_id == stated_contract(content, precision)


def is_synthetic(data: object) -> bool:
    """Return whether a release was made of synthetic people; `data` is that of its release.json."""
    sources = data.get("sources") if isinstance(data, Mapping) else None
    return isinstance(sources, Mapping) and "synthetic" in sources
