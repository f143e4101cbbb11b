"""The enrolled people as their files are now, whatever changes them while a server runs."""

import threading
from pathlib import Path

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.store import Gallery


class CurrentGallery:
    """The gallery in `folder`; read again when its files were replaced. For several threads.

    So who is enrolled is named from the next request on, and who was forgotten no more.
    """

    def __init__(self, folder: Path, contract_id: str) -> None:
        self._folder = folder
        self._contract_id = contract_id
        self._read: Gallery | None = None
        self._lock = threading.Lock()

    def get(self) -> Gallery:
        """Return the gallery.

        Raises:
            FaceOpsError: there is none, it is damaged, or it is of another contract.
        """
        with self._lock:
            try:
                if self._read is None:
                    self._read = Gallery.open(self._folder, self._contract_id)
                else:
                    self._read = self._read.as_saved()
            except UsageError as error:
                raise FaceOpsError(str(error)) from None  # not the fault of who sent the request
            return self._read
