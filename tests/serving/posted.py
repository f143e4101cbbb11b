"""Photos as they are posted: base64 text."""

import base64
from pathlib import Path


def posted(photo: Path | bytes) -> str:
    """Return the base64 of a file."""
    content = photo if isinstance(photo, bytes) else photo.read_bytes()
    return base64.b64encode(content).decode()
