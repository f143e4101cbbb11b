"""adapter.json: how to feed an embedder.onnx that was made elsewhere."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceops.base.errors import FaceOpsError, UsageError

ADAPTER_FILE = "adapter.json"

_Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class Adapter(BaseModel):
    """The content of adapter.json; the net sees (pixel - mean) * scale, pixels 0 to 255."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Literal["NCHW", "NHWC"] = Field(description="order of the input's axes")
    colour: Literal["RGB", "BGR"] = Field(description="order of the channels")
    size: int = Field(112, ge=16, le=1024, description="side of the input, pixels")
    mean: float | _Channels = Field(0.0, description="one number, or one a channel in its order")
    scale: float | _Channels = Field(1.0, description="one number, or one a channel in its order")
    normalise: bool = Field(
        True, description="L2-normalise the output; false: it is of length 1 already"
    )
    output: str = Field("", description="name of the output, where there are several")
    alignment: Literal["five_point_112"] = Field(
        "five_point_112", description="by this project's detector, landmarks and template"
    )
    source: str = Field("", description="where the weights come from, in words")


def read_adapter(folder: Path) -> Adapter:
    """Read `folder`/adapter.json.

    Raises:
        UsageError: it is absent.
        FaceOpsError: no JSON, or a key that is not as `Adapter` says.
    """
    path = folder / ADAPTER_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        return Adapter.model_validate(content)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} is neither a release (release.json) nor an embedder made elsewhere "
            f"({ADAPTER_FILE} beside embedder.onnx); name another folder."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "its content"
        raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}; correct it.") from None
    except (OSError, ValueError) as error:
        raise FaceOpsError(f"{path} is not readable JSON ({error}); correct it.") from None
