"""Download a weight from its publisher's address."""

import http.client
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from faceops.base.progress import track
from faceops.weights.catalogue import Weight
from faceops.weights.wheel import NotFetched

CHUNK = 1 << 20
TIMEOUT_S = 60.0  # of silence, not of the whole download


def _chunks(response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
    """Yield what arrives, one byte past `limit` at most: an endless answer ends here."""
    left = limit + 1
    while left > 0 and (chunk := response.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def fetch_from_upstream(weight: Weight, target: Path) -> None:
    """Write what the weight's address answers to `target`, at most its size and one byte.

    Raises:
        NotFetched: no answer, an error status, a broken connection, or too few or many bytes.
    """
    try:
        with (
            urllib.request.urlopen(str(weight.url), timeout=TIMEOUT_S) as response,
            target.open("wb") as sink,
        ):
            chunks = _chunks(response, weight.size)
            for chunk in track(chunks, f"{weight.name} (MB)", math.ceil(weight.size / CHUNK)):
                sink.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise NotFetched(f"{weight.url} could not be downloaded ({error})") from None
    if (got := target.stat().st_size) != weight.size:
        held = "more" if got > weight.size else f"only {got}"
        raise NotFetched(f"{weight.url} gave {held} bytes instead of {weight.size}")
