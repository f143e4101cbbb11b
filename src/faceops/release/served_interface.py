"""The interface of the registered model: MLflow signature, input example, parameters' defaults.

MLflow shows them on the page of a version; `faceops.serving` implements them.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    import pandas
    from mlflow.models import ModelSignature


SIDE = 96  # pixels
_SCALE = 4  # drawn at this multiple, then averaged down
_WALL, _SHIRT, _HAIR, _LIPS = (150, 170, 185), (70, 80, 120), (70, 50, 40), (180, 90, 90)
_SKIN, _SHADE, _WHITE, _IRIS = (224, 178, 148), (203, 154, 126), (245, 245, 245), (50, 35, 30)
# Ellipses (left, top, right, bottom, colour), as shares of the side: shirt, neck, hair, face, ...
_EYE = [(-0.065, 0.385, 0.065, 0.405, _HAIR), (-0.055, 0.435, 0.055, 0.485, _WHITE),
        (-0.024, 0.435, 0.024, 0.483, _IRIS)]  # fmt: skip
_PORTRAIT = [
    (0.12, 0.80, 0.88, 1.40, _SHIRT), (0.41, 0.62, 0.59, 0.92, _SHADE),
    (0.24, 0.10, 0.76, 0.62, _HAIR), (0.28, 0.18, 0.72, 0.80, _SKIN),
    (0.27, 0.12, 0.73, 0.32, _HAIR), (0.42, 0.655, 0.58, 0.70, _LIPS),
    *((x + left, top, x + right, bottom, colour)
      for x in (0.40, 0.60) for left, top, right, bottom, colour in _EYE),
]  # fmt: skip
_NOSE = [(0.50, 0.46), (0.465, 0.585), (0.535, 0.585)]


def example_photo() -> bytes:
    """Return the JPEG of a drawn portrait, 96 x 96 pixels, under 2 kB."""
    side = SIDE * _SCALE
    picture = Image.new("RGB", (side, side), _WALL)
    draw = ImageDraw.Draw(picture)
    for *box, colour in _PORTRAIT:
        draw.ellipse([value * side for value in box], fill=colour)
    draw.polygon([(x * side, y * side) for x, y in _NOSE], fill=_SHADE)
    small = picture.filter(ImageFilter.GaussianBlur(3)).resize((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


IMAGE = "image"  # the column: base64 of a photo's file
FACES, NAMES, EMBEDDINGS = "faces", "names", "embeddings"
ANSWERS = (FACES, NAMES, EMBEDDINGS)
# Budget 0: the release's default; `detail` is that of `faceops identify`.
DEFAULTS: dict[str, Any] = {"answer": FACES, "budget": 0.0, "detail": 1280}

# Columns of the answer and their MLflow types.
_PHOTO = {"photo_id": "string", "width": "long", "height": "long", "reason": "string",
          "message": "string"}  # fmt: skip
FACE_COLUMNS = ("x", "y", "width", "height", "detector_score", "quality")
NAME_COLUMNS = {"decision": "string", "person": "string", "probability": "double",
                "distance": "double", "runner_up": "string", "runner_up_probability": "double",
                "reason": "string"}  # fmt: skip


def signature() -> "ModelSignature":
    """Return the MLflow signature of a request and its answer.

    Optional values may be null, or absent if they were not requested.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    numbers = Array(DataType.double)
    names = NAME_COLUMNS.items()
    face = [
        *(Property(name, DataType.double) for name in FACE_COLUMNS),
        Property("landmarks", Array(numbers)),
        *(Property(name, DataType[kind], required=False) for name, kind in names),
        Property("embedding", numbers, required=False),
    ]
    answer: list[Any] = [
        *(ColSpec(DataType[kind], name, required=False) for name, kind in _PHOTO.items()),
        ColSpec(Array(Object(face)), "faces"),
        ColSpec(DataType.double, "threshold", required=False),
        ColSpec(DataType.string, "contract_id"),
    ]
    kinds = {"answer": DataType.string, "budget": DataType.double, "detail": DataType.long}
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, IMAGE)]),
        outputs=Schema(answer),
        params=ParamSchema([ParamSpec(name, kinds[name], DEFAULTS[name]) for name in DEFAULTS]),
    )


def input_example() -> "tuple[pandas.DataFrame, dict[str, Any]]":
    """Return a request with one small photo, and its parameters."""
    import pandas as pd

    text = base64.b64encode(example_photo()).decode()
    return pd.DataFrame({IMAGE: [text]}), dict(DEFAULTS)
