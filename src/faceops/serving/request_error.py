"""An error as MLflow's scoring server returns it: HTTP 400 or 503 and one sentence.

A file of its own because it needs `mlflow`, which the service itself does not.
"""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from faceops.base.errors import FaceOpsError, UsageError


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
