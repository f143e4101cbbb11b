"""A refusal as MLflow's scoring server passes it on: HTTP 400 or 503 and one sentence."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from faceops.base.errors import FaceOpsError, UsageError


class Refusal(MlflowException):
    """What `error` says: HTTP 400 when the request is wrong, 503 when the server has to be mended.

    MLflow puts what was posted before an error's message. A photo has no business in an answer or
    a log, so the answer holds the sentence alone.
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
