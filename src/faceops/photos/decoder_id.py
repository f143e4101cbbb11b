"""Which decoder opens photos here."""

from importlib.util import find_spec

import PIL


def decoder_id() -> str:
    """Name what opens photos here: a photo that one decoder cannot open another one may."""
    heif = "+heif" if find_spec("pillow_heif") else ""
    return f"pillow {PIL.__version__}{heif}"
