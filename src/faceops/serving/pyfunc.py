"""The release as an MLflow pyfunc: photos in, faces, names or embeddings out; nothing is pickled.

    mlflow models serve -m models:/faceops@champion --env-manager local

FACEOPS_GALLERY names the folder of the enrolled people; without it nobody can be named.
"""

import logging
import os
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.served_interface import IMAGE
from faceops.serving.service import PhotoService, RequestParams

GALLERY = "FACEOPS_GALLERY"  # environment variable


class PhotoModel:
    """The prediction interface that MLflow calls, from several threads at a time."""

    def __init__(self, service: PhotoService) -> None:
        self._service = service

    def predict(
        self, model_input: Any, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each row of `model_input`; `release.served_interface` has its fields.

        Args:
            model_input: a DataFrame with the column `image`, base64 text; MLflow has checked that
                it is there, and refuses parameters of a wrong type.
            params: `answer`, `budget` and `detail`; see `RequestParams`.

        Raises:
            mlflow.MlflowException: the request is wrong, or the gallery cannot be used.
        """
        try:
            return self._service.answer(list(model_input[IMAGE]), RequestParams.of(params))
        except FaceOpsError as error:
            from faceops.serving.request_error import RequestError

            raise RequestError(error) from None


def _load_pyfunc(path: str) -> PhotoModel:
    """Return the model of the bundle in `path`; what is wrong with its gallery is logged."""
    folder = os.environ.get(GALLERY)
    bundle = Bundle.load(Path(path))  # a request has a thread of its own
    service = PhotoService(bundle, Path(folder) if folder else None)
    if folder:
        try:
            service.gallery()
        except FaceOpsError as error:  # faces and embeddings can be had all the same
            logging.getLogger(__name__).warning("nobody can be named: %s", error)
    return PhotoModel(service)
