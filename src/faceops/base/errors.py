"""Errors that are reported to the user as one sentence, and words for such sentences.

Libraries report that the machine lacked memory or the like in many ways: MemoryError, an OSError,
or a RuntimeError of their own with a text such as "std::bad_alloc". `shortage` turns all of these
into one kind of error.
"""

import errno
import re
import shlex

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
    """Another process works on the same files; the command may succeed later."""


class NotPermittedError(FaceOpsError):
    """The user of a database lacks a permission."""


class DamageError(FaceOpsError):
    """A file is damaged; the message says what is lost, and the command that repairs it."""


class StoreError(FaceOpsError):
    """A request to MLflow's store failed; it may succeed later."""


def printable(text: object) -> str:
    """Return `text` on one line: control characters and undecodable bytes as escapes."""
    # Zero-width joiners are kept: names in some scripts need them.
    return "".join(
        c if c.isprintable() or c in "\u200c\u200d" else ascii(c)[1:-1] for c in str(text)
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without a full stop; its class without any."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).rstrip(".")


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number of things in words: 1 face, 2,000 faces, 2 people."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def as_arguments(*names: str) -> str:
    """Return names as the last arguments of a shell command; one may begin with `-`."""
    first = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join([*first, *names])


_SHOWN = 200  # characters of a library's message
MIN_FAILURES = 5  # photos that must fail to end a run over a small folder, unless it has fewer


class ShortageError(FaceOpsError):
    """The machine lacked memory, disk space or the like: the same work may succeed later."""


def error_numbers(*names: str) -> frozenset[int]:
    """Return the values of `errno` with these names; names that the system lacks are ignored."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


# What was lacking, and what to do: by the number of an OSError, or the message of any other error.
_LACKS = [
    (what, advice, error_numbers(*numbers.split()), re.compile(texts, re.IGNORECASE))
    for what, advice, numbers, texts in (
        (
            "memory",
            "close other programs, use fewer threads (identify: --threads 1), or allow more memory",
            "ENOMEM",
            r"bad.?alloc|out of memory|(insufficient|not enough) memory|cannot allocate memory"
            r"|alloc\w* (error|fail)|fail\w* to (allocate|map segment)",
        ),
        (
            "threads",
            "use fewer (identify: --threads 1), or raise the limits (ulimit -u, memory)",
            "EAGAIN",
            "can't start new thread|pthread_create",
        ),
        (
            "open files",
            "raise the limit (ulimit -n), or use fewer threads (identify: --threads 1)",
            "EMFILE ENFILE",
            "too many open files",
        ),
        ("disk space", "free some space", "ENOSPC EDQUOT", "no space left|disk is full"),
        (
            "a working disk or share",
            "check the disk, or the connection to the share",
            "EIO EREMOTEIO ESTALE ENODEV ENXIO ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH",
            "input/output error|stale file handle",
        ),
    )
]


def shortage(error: BaseException) -> ShortageError | None:
    """Return the error that says what the machine lacked and what to do; None for other causes."""
    if isinstance(error, ShortageError):
        return error
    if isinstance(error, FaceOpsError) or not isinstance(error, Exception):
        return None
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    for what, advice, numbers, texts in _LACKS:
        if number in numbers if number else texts.search(text):
            return ShortageError(
                f"the machine lacks {what} ({text.splitlines()[0][:_SHOWN]}); {advice}, and run it "
                "again to continue."
            )
    return None


def user_error(error: Exception) -> FaceOpsError | None:
    """Return the error to report as one sentence: `error` or its shortage; None for a bug."""
    return error if isinstance(error, FaceOpsError) else shortage(error)


def allowed_failures(total: int, max_share: float) -> int:
    """Return how many of `total` photos may fail before their run ends.

    It is `max_share` of them, but at least MIN_FAILURES - 1; never all, except with a share of 1.
    """
    return max(int(max_share * total), min(MIN_FAILURES, total) - 1)
