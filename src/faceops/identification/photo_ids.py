"""Many photo_ids in little memory: a third of what a set of texts takes."""

from collections.abc import Iterable

import numpy as np

_DIGEST = np.dtype("S32")  # it compares as if filled up with zeros, so none is lost at the end


class PhotoIds:
    """A set of photo_ids, sha256 in hexadecimal: 32 bytes each."""

    def __init__(self, photo_ids: Iterable[str] = ()) -> None:
        self._sorted = np.unique(
            np.fromiter((bytes.fromhex(photo_id) for photo_id in photo_ids), _DIGEST)
        )

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, photo_id: object) -> bool:
        if not isinstance(photo_id, str):
            return False
        digest = np.array(bytes.fromhex(photo_id), _DIGEST)
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)
