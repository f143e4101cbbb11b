"""data/sources.json: what the data folder was made from."""

import json
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json

SOURCES_FILE = "sources.json"
SYNTHETIC = "synthetic"


def read_sources(data: Path) -> dict[str, dict[str, Any]]:
    """Return source name -> what is known of it; empty for a folder that nothing was put into.

    Raises:
        FaceOpsError: the file is not the JSON that FaceOps wrote.
    """
    path = data / SOURCES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} cannot be read ({error}); restore it or remove {data}."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise FaceOpsError(f"{path} is not FaceOps' list of sources; restore it or remove {data}.")
    return content


def write_sources(data: Path, sources: dict[str, dict[str, Any]]) -> None:
    """Write the list, sorted, without times: it is part of what DVC hashes."""
    write_json(data / SOURCES_FILE, sources)
