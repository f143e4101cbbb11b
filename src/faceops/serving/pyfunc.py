"""The release as an MLflow pyfunc: photos in, faces, names or embeddings out; nothing is pickled.

    mlflow models serve -m models:/faceops@champion --env-manager local

FACEOPS_GALLERY names the gallery of the enrolled people, as --gallery does; without it nobody can
be named.
"""

import logging
import os
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from faceops.base.errors import FaceOpsError, UsageError, user_error
from faceops.gallery.storage import gallery_place, storage_of
from faceops.release.bundle import Bundle
from faceops.release.contract import read_release
from faceops.release.release_file import precision_for
from faceops.release.served_interface import IMAGE
from faceops.serving import PhotoService, RequestParams

GALLERY = "FACEOPS_GALLERY"  # environment variable


class RequestError(MlflowException):
    """HTTP 400 for a `UsageError`: the request is wrong; 503 for another: the server is.

    MLflow puts the posted data before an error's message. A photo must not appear in an answer or
    a log, so the answer holds only the sentence.
    """

    def __init__(self, error: FaceOpsError) -> None:
        wrong = isinstance(error, UsageError)
        super().__init__(
            str(error), error_code=INVALID_PARAMETER_VALUE if wrong else TEMPORARILY_UNAVAILABLE
        )
        self._sentence = str(error)

    def serialize_as_json(self) -> str:
        """Return the body of the HTTP answer."""
        self.message = self._sentence
        return super().serialize_as_json()


class PhotoModel:
    """The prediction interface that MLflow calls, from several threads at a time."""

    def __init__(self, service: PhotoService) -> None:
        self._service = service

    def predict(
        self, model_input: Any, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each row of `model_input`; see `served_interface.signature`.

        Args:
            model_input: a DataFrame with the column `image`, base64 text. MLflow checks that it
                exists, and the types of parameters.
            params: `answer`, `budget` and `detail`; see `RequestParams`.

        Raises RequestError: the request is wrong, the gallery cannot be used, or memory or the like
        is short.
        """
        try:
            return self._service.answer(list(model_input[IMAGE]), RequestParams.of(params))
        except Exception as error:
            if (reported := user_error(error)) is None:
                raise
            raise RequestError(reported) from None


def _load_pyfunc(path: str) -> PhotoModel:
    """Return the model of the bundle in `path`; an unusable gallery is logged."""
    folder = os.environ.get(GALLERY)
    gallery = gallery_place(folder) if folder else None
    contract_id = storage_of(gallery).contract_id() if gallery else ""
    precision = precision_for(read_release(Path(path)).model_dump(), "auto", contract_id)
    bundle = Bundle.load(Path(path), precision=precision)  # each request runs in its own thread
    service = PhotoService(bundle, gallery)
    if folder:
        try:
            service.gallery()
        except FaceOpsError as error:  # faces and embeddings need no gallery
            logging.getLogger(__name__).warning("no names will be given: %s", error)
    return PhotoModel(service)
