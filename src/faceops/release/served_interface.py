"""How the registered model is asked for faces, names and embeddings, and what it answers.

The signature and the input example that a version's page shows; the room `serving` answers so.
"""

import base64
from typing import TYPE_CHECKING, Any

from faceops.release.example_photo import example_photo

if TYPE_CHECKING:
    import pandas
    from mlflow.models import ModelSignature

IMAGE = "image"  # the column: base64 of a photo's file
FACES, NAMES, EMBEDDINGS = "faces", "names", "embeddings"
ANSWERS = (FACES, NAMES, EMBEDDINGS)
# A budget of 0 is the release's own; `detail` is that of `faceops identify`.
DEFAULTS: dict[str, Any] = {"answer": FACES, "budget": 0.0, "detail": 1280}

_PHOTO = {
    "photo_id": "string",
    "width": "long",
    "height": "long",
    "reason": "string",
    "message": "string",
}
_FACE = ("x", "y", "width", "height", "detector_score", "quality")
_NAME = {
    "decision": "string",
    "person": "string",
    "probability": "double",
    "distance": "double",
    "runner_up": "string",
    "runner_up_probability": "double",
    "reason": "string",
}


def signature() -> "ModelSignature":
    """Return what a request holds and what its answer holds, as MLflow says it.

    What is optional may be null or, where it was not asked for, absent.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    numbers = Array(DataType.double)
    face = Object(
        [
            *(Property(name, DataType.double) for name in _FACE),
            Property("landmarks", Array(numbers)),
            *(Property(name, DataType[kind], required=False) for name, kind in _NAME.items()),
            Property("embedding", numbers, required=False),
        ]
    )
    kinds = {"answer": DataType.string, "budget": DataType.double, "detail": DataType.long}
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, IMAGE)]),
        outputs=Schema(
            [
                *(ColSpec(DataType[kind], name, required=False) for name, kind in _PHOTO.items()),
                ColSpec(Array(face), "faces"),
                ColSpec(DataType.double, "threshold", required=False),
                ColSpec(DataType.string, "contract_id"),
            ]
        ),
        params=ParamSchema([ParamSpec(name, kinds[name], DEFAULTS[name]) for name in DEFAULTS]),
    )


def input_example() -> "tuple[pandas.DataFrame, dict[str, Any]]":
    """Return a request of one small photo, and its parameters."""
    import pandas as pd

    text = base64.b64encode(example_photo()).decode()
    return pd.DataFrame({IMAGE: [text]}), dict(DEFAULTS)
