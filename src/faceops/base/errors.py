"""Errors that are reported to the user as one sentence, without a traceback."""

import re

# SQLAlchemy allows / and ? in a password, so what looks like host:port/path@rest is hidden too.
# With one slash it is a URL as `Path` writes it.
_PAIR = r"[^\s/:@]*:(?:[^\s?]*|[^\s/@]*)"
_CREDENTIALS = re.compile(rf"(?<=:/)/(?:{_PAIR}|(?<!postgresql://)[^\s/?#]*)@|(?<=:)/{_PAIR}@")
# Shown is where a gallery in a database is: commands in messages need it.
_PLACE = r"(?:(?:gallery|host|port|service|sslmode)=[\w./%-]*&?)+(?=[\s'\"<>),;:]|$)"
_QUERY = re.compile(rf"(?<=[\w+.-]{{2}})(:/[^\s?'\"<>]*\?)(?!{_PLACE})[^\s'\"<>)]+")


def without_secrets(text: str) -> str:
    """Return `text` with *** for the credentials and the query (such as tokens) of URLs in it."""
    return _QUERY.sub(r"\1***", _CREDENTIALS.sub("/***@", text))


class FaceOpsError(Exception):
    """The job failed: the message names the file, key or value and what to do (exit code 1).

    Messages are printed, logged and recorded, and many quote a URL or the message of a library:
    see `without_secrets`.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class UsageError(FaceOpsError):
    """A wrong argument or parameter file (exit code 2)."""

    exit_code = 2


class InUseError(FaceOpsError):
    """Another process works on the same files; later it has ended."""


class NotPermittedError(FaceOpsError):
    """The user of a database may not do it."""


class DamageError(FaceOpsError):
    """A file is damaged; the message says what is lost, and the command that repairs it."""


class StoreError(FaceOpsError):
    """A request to MLflow's store failed; it may succeed later."""


def printable(text: object) -> str:
    """Return `text` on one line: control characters and undecodable bytes as escapes."""
    # The zero-width joiners that names in some scripts need do no harm.
    return "".join(
        c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in str(text)
    )
