"""JSON outputs of stages: sorted, without timestamps, replaced at once."""

import json
from pathlib import Path


def write_json(path: Path, content: object) -> None:
    """Write `content` to `path`; the same content gives the same bytes."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
    temporary.replace(path)
