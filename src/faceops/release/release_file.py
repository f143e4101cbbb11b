"""What an unchanged run reads of release.json, without loading NumPy and pydantic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object

RELEASE_FILE = "release.json"
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


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


def is_synthetic(data: Mapping[str, Any]) -> bool:
    """Return whether a release was made of synthetic people; `data` is that of its release.json."""
    return "synthetic" in (data.get("sources") or {})
