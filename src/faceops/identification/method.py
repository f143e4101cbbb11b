"""What decides which faces a photo's bytes give, apart from what embeds them."""

import hashlib
import json
from typing import NamedTuple

from faceops.photos.open_photo import PhotoLimits
from faceops.release.contract import Release


class Method(NamedTuple):
    """How a photo is looked at.

    Attributes:
        finder: stands for all that finds and cuts faces, hex: crops id, threshold, detail, limits.
        contract: the contract id of the release that embeds them.
        schema_2: what stood for both in states of before they were told apart.
    """

    finder: str
    contract: str
    schema_2: str


def method_of(release: Release, limits: PhotoLimits, detail: int) -> Method:
    """Return the method of a release; one of another embedder alone has the same `finder`."""
    finds = {
        "detector_threshold": release.alignment.detector_threshold,
        "detail": detail,
        "limits": str(limits),
    }
    contract = {
        "contract_id": release.contract_id,
        "detector_size": release.alignment.detector_size,
    }
    return Method(
        _digest({**finds, "crops_id": release.crops_id}),
        release.contract_id,
        _digest({**finds, **contract}),
    )


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
