"""How the registered model is asked for faces, names and embeddings, and what it answers.

The signature and the input example that a version's page shows; the room `serving` answers so.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    import pandas
    from mlflow.models import ModelSignature


SIDE = 96  # pixels
_FINER = 4  # drawn so many times as large, then averaged down
_SKIN, _SHADE, _HAIR, _LIPS = (224, 178, 148), (203, 154, 126), (70, 50, 40), (180, 90, 90)
_WALL, _SHIRT, _WHITE, _IRIS = (150, 170, 185), (70, 80, 120), (245, 245, 245), (50, 35, 30)


def example_photo() -> bytes:
    """Return the JPEG of a drawn portrait, 96 x 96 pixels, under 2 kB."""
    side = SIDE * _FINER
    picture = Image.new("RGB", (side, side), _WALL)
    draw = ImageDraw.Draw(picture)

    def oval(left: float, top: float, right: float, bottom: float, colour: tuple[int, ...]) -> None:
        draw.ellipse([left * side, top * side, right * side, bottom * side], fill=colour)

    oval(0.12, 0.80, 0.88, 1.40, _SHIRT)
    oval(0.41, 0.62, 0.59, 0.92, _SHADE)  # neck
    oval(0.24, 0.10, 0.76, 0.62, _HAIR)
    oval(0.28, 0.18, 0.72, 0.80, _SKIN)
    oval(0.27, 0.12, 0.73, 0.32, _HAIR)
    for x in (0.40, 0.60):
        oval(x - 0.065, 0.385, x + 0.065, 0.405, _HAIR)  # brow
        oval(x - 0.055, 0.435, x + 0.055, 0.485, _WHITE)
        oval(x - 0.024, 0.435, x + 0.024, 0.483, _IRIS)
    nose = [(0.50, 0.46), (0.465, 0.585), (0.535, 0.585)]
    draw.polygon([(x * side, y * side) for x, y in nose], fill=_SHADE)
    oval(0.42, 0.655, 0.58, 0.70, _LIPS)
    small = picture.filter(ImageFilter.GaussianBlur(3)).resize((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


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
