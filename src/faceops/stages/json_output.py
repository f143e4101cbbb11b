"""JSON outputs of stages: sorted, without timestamps, replaced at once."""

import json
from pathlib import Path

from faceops.dataset.write_whole import write_whole


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path`, whose folder is made; the same content gives the same bytes."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    write_whole(path, (text + "\n").encode())
