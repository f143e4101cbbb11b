"""Which output folders hold results that were named from a gallery: `forget` must reach them."""

import json
from pathlib import Path

from faceops.errors import FaceOpsError

OUTPUTS_FILE = "outputs.jsonl"


def remember_output(gallery: Path, out: Path) -> bool:
    """Note in `gallery` that results are written to `out`; a line a folder, added once.

    Returns whether it is noted: a gallery that may only be read does not hinder naming, but
    `forget` must then be told of the folder.

    Raises:
        FaceOpsError: the list is damaged.
    """
    place = str(out.resolve())
    if place in map(str, outputs_of(gallery)):
        return True
    try:
        with (gallery / OUTPUTS_FILE).open("a", encoding="ascii") as file:
            file.write(json.dumps(place) + "\n")
    except OSError:
        return False
    return True


def outputs_of(gallery: Path) -> list[Path]:
    """Return the output folders, absolute, in the order in which they came.

    Raises:
        FaceOpsError: the list is damaged.
    """
    path = gallery / OUTPUTS_FILE
    try:
        lines = path.read_text("ascii").splitlines() if path.exists() else []
        return [Path(place) for place in dict.fromkeys(str(json.loads(line)) for line in lines)]
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} is damaged ({error}); mend it, a JSON text a line, each an output folder of "
            "`faceops identify`."
        ) from None
