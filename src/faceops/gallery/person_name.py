"""Names of people and of files as they are stored and shown."""

from pathlib import Path


def person_of(photo: Path) -> str:
    """Return the person's name by the photo's path below the enrolled folder.

    The first folder is the name, or the file's stem when there is none; underscores are spaces.
    """
    return display_name(photo.parts[0] if len(photo.parts) > 1 else photo.stem)


def display_name(name: str) -> str:
    """Return a folder's name as the name that is shown: `Ann_Lee` is `Ann Lee`."""
    return " ".join(valid_unicode(name).replace("_", " ").split())


def valid_unicode(text: str) -> str:
    """Return a file name as valid Unicode; a byte that is not UTF-8 becomes a backslash code."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
