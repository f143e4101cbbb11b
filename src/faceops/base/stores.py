"""Objects in a store (S3 or any protocol of fsspec) below a URL, or files below a local folder.

Credentials and the endpoint come by the means of each store's own package, such as AWS_PROFILE,
AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL, or as FSSPEC_<PROTOCOL>_<OPTION>: never in a URL, which is
recorded and shown. The engine's paths of objects are URLs as `Path` writes them, with one slash:
s3:/bucket/key; `shown` writes them as users do.
"""

import errno
import functools
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from faceops.base.errors import FaceOpsError, UsageError, error_numbers, first_line, without_secrets
from faceops.base.files import temporary_name, write_file

PATIENCE_S = 120.0  # how long a request is repeated while the store does not answer
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")  # two letters: one is a drive of Windows
_SECRET = re.compile(r"[^/\[]*:(?!\d+/).*@|[^?]*\?", re.S)  # [ is of an address, host:9/ a port
_SHOWN = 200  # characters of a library's message
# Stores in which an object is replaced at once, by one request; elsewhere it is renamed.
_REPLACES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "memory"})
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"total_max_attempts": 1},  # repeated here, longer
        },
        "max_concurrency": 1,  # reads an object by one request, not in parts of two versions
    },
}
_TRANSIENT = error_numbers(
    *("EIO", "EREMOTEIO", "EBUSY", "EAGAIN", "EPIPE", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("EHOSTDOWN", "EHOSTUNREACH"),
)
# Of packages that need not be installed, by name.
_TRANSIENT_CLASSES = {
    *("ConnectionError", "HTTPClientError", "ResponseParserError", "IncompleteRead"),
    *("ClientPayloadError", "ClientConnectionError"),
    *("ServiceRequestError", "ServiceResponseError"),
}
_LOG = logging.getLogger("faceops.stores")
_Result = TypeVar("_Result")


class ObjectStoreError(FaceOpsError):
    """A store that does not answer, or refuses; later it may answer."""


class NoAnswerError(ObjectStoreError):
    """A store that has not answered for PATIENCE_S: other requests would wait as long."""


class NoBucketError(ObjectStoreError):
    """There is no such bucket, or no such folder that everything else is in."""


class ChangedError(FaceOpsError):
    """An object is not the version that was to be replaced: somebody has written it since."""


class Entry(NamedTuple):
    """An object or a folder."""

    name: str  # in its folder; from `ObjectStore.objects` below the store's URL
    is_folder: bool
    size: int
    version: str  # its ETag or generation, else its time of modification; "" for a folder


def is_url(path: str | Path) -> bool:
    """Return whether `path` is a URL, or a path into a store as the engine has it."""
    return _URL.match(str(path)) is not None


def shown(path: str | Path) -> str:
    """Return `path` as users write it: the URL of a path into a store, else the path."""
    return _URL.sub(r"\1://", str(path), count=1)


def uri_of(path: Path) -> str:
    """Return the URI of an absolute path, or of a path into a store."""
    if not is_url(path):
        return path.as_uri()
    protocol, _, rest = shown(path).partition("://")
    return f"{protocol}://{quote(rest)}"


def place(text: str) -> Path:
    """Return the path that the engine has for what a user named: a folder, or a URL.

    Raises UsageError: the URL holds credentials or a query.
    """
    found = _URL.match(text)
    if found is None:
        return Path(text)
    rest = text[found.end() :]
    if _SECRET.match(rest):
        raise UsageError(
            f"{without_secrets(shown(text))} holds credentials or a query, and a URL is recorded; "
            "give them by the store's own means, such as AWS_PROFILE."
        )
    return Path("/" + rest) if found[1] == "file" else Path(text)


def split(path: str | Path) -> tuple["ObjectStore", str]:
    """Return the store of a path into one, and the object's name in it."""
    protocol, _, rest = str(path).partition(":/")
    authority, _, name = rest.lstrip("/").partition("/")
    return ObjectStore.at(f"{protocol}://{authority}"), name


def read_object(path: str | Path, stop: int) -> bytes:
    """Return at most `stop` bytes of the object at a path into a store; errors as of `read`."""
    store, name = split(path)
    return store.read(name, stop)


class ObjectStore:
    """The objects below a URL, or the files below a folder. Threads may share it.

    While the store does not answer (no connection, timeout, status 5xx), each request is repeated
    with growing pauses for up to PATIENCE_S; then it is an `ObjectStoreError`.
    """

    def __init__(self, url: str, file_system: Any, root: str, protocol: str) -> None:
        self.url = url
        self._fs, self._root, self._protocol = file_system, root.rstrip("/"), protocol
        self._waits = False  # whether the warning that it does not answer is logged

    @classmethod
    @functools.lru_cache(maxsize=64)
    def at(cls, url: str | Path) -> "ObjectStore":
        """Return the store below `url`, or below a local folder; nothing is requested.

        Raises:
            UsageError: unknown protocol, or its package is not installed; credentials in the URL.
        """
        path = place(str(url))
        text = shown(path)
        found = _URL.match(text)
        protocol = found[1] if found else "file"
        try:
            import fsspec

            options = {"use_listings_cache": False, **_OPTIONS.get(protocol, {})}
            files, root = fsspec.url_to_fs(text if found else str(path.absolute()), **options)
        except ImportError as error:
            extra = "faceops[s3]" if protocol in ("s3", "s3a", "file", "memory") else ""
            package = f"pip install '{extra}'" if extra else f"install it ({error})"
            raise UsageError(f"{text} needs a package that is not installed; {package}.") from None
        except ValueError as error:
            raise UsageError(
                f"{text} cannot be used ({first_line(error)[:_SHOWN]}); check it."
            ) from None
        if protocol == "s3":
            files.retries = 1
        return cls(text, files, str(root), protocol)

    def folder(self, name: str = "") -> Iterator[Entry]:
        """Yield what lies in the folder `name`, page by page, in no order.

        A folder without content has none, as stores know no folders; an object is in none.

        Raises ObjectStoreError: it does not answer, refuses, or has no such bucket.
        """
        start = self._path(name) + "/"
        for entry in self._listed(self._path(name), flat=False):
            path = entry["name"]
            if path == start[:-1] and entry["type"] != "directory":
                continue  # the object itself
            inside = path[len(start) :] if path.startswith(start) else path.rpartition("/")[2]
            if inside or entry["type"] == "directory":  # else it marks the folder
                yield _entry(inside, entry)

    def objects(self) -> Iterator[Entry]:
        """Yield all objects of the store, named below its URL; errors as of `folder`."""
        start = self._path("") + "/"
        for entry in self._listed(self._path(""), flat=True):
            if entry["type"] != "directory" and not entry["name"].endswith("/"):
                yield _entry(entry["name"][len(start) :], entry)

    def entry(self, name: str) -> Entry | None:
        """Return the object `name` as it is now; None if there is none. Errors as of `folder`."""
        try:
            info = self._request(lambda: self._fs.info(self._path(name)), name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, "looked at", error) from None
        return None if info["type"] == "directory" else _entry(name, info)

    def exists(self, name: str) -> bool:
        """Return whether there is an object `name`; errors as of `folder`."""
        return self.entry(name) is not None

    def read(self, name: str, stop: int | None = None, start: int = 0) -> bytes:
        """Return the bytes of an object from `start` up to `stop`, by one request.

        Raises OSError: there is no such object, it may not be read, or it has no such range;
        ObjectStoreError: the store does not answer.
        """
        ranged = {} if stop is None and not start else {"start": start, "end": stop}
        try:
            return self._request(lambda: bytes(self._fs.cat_file(self._path(name), **ranged)), name)
        except OSError as error:
            if not ranged or start or error.errno != errno.EINVAL:
                raise
            return self.read(name)  # an empty object has no ranges

    def write(self, name: str, content: bytes, replaces: str | None = None) -> str:
        """Write an object at once: a reader finds the old content or the new one.

        `replaces`: the version that the object must still have, "" for none. It is compared before;
        S3 compares it again itself, elsewhere a writer may come in between. Returns its version, ""
        where the store does not answer with it.

        Raises ChangedError: it has another version; ObjectStoreError: it cannot be written.
        """
        path, answer = self._path(name), None
        condition = self._condition(name, replaces)
        try:
            if self._protocol == "file":
                write_file(Path(path), content)
            elif self._protocol in _REPLACES:
                answer = self._request(lambda: self._fs.pipe_file(path, content, **condition), name)
            else:
                temporary = temporary_name(Path(path)).as_posix()
                self._request(lambda: self._fs.pipe_file(temporary, content), name)
                self._request(lambda: self._fs.mv(temporary, path), name)
        except (OSError, ValueError) as error:
            gone = bool(replaces) and isinstance(error, FileNotFoundError)
            if gone or isinstance(error, FileExistsError) or _is_changed(error):
                raise self._changed(name) from None
            raise self._error(name, "written", error) from None
        return _version(answer) if isinstance(answer, dict) else ""

    def delete(self, name: str, replaces: str | None = None) -> None:
        """Delete an object, if it exists; `replaces` and errors as of `write`."""
        path = self._path(name)
        condition = self._condition(name, replaces) if replaces else {}
        bucket, _, key = path.partition("/")
        try:
            with suppress(FileNotFoundError):
                if condition:
                    asked = {"Bucket": bucket, "Key": key, **condition}
                    self._request(lambda: self._fs.call_s3("delete_object", **asked), name)
                else:
                    self._request(lambda: self._fs.rm_file(path), name)
        except OSError as error:
            if _is_changed(error):
                raise self._changed(name) from None
            raise self._error(name, "deleted", error) from None

    def _condition(self, name: str, replaces: str | None) -> dict[str, str]:
        """Return what S3 is to compare; a ChangedError if the object has another version."""
        if replaces is None:
            return {}
        if replaces != (found.version if (found := self.entry(name)) else ""):
            raise self._changed(name)
        if self._protocol != "s3":
            return {}
        return {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}

    def open(self, name: str, size: int) -> Any:
        """Return an object of `size` bytes as a binary file that reads ahead in blocks."""
        file = self._fs.open(self._path(name), "rb", size=size, block_size=1 << 18)
        if (cache := getattr(file, "cache", None)) is not None:  # its blocks are requests too
            fetch = cache.fetcher
            cache.fetcher = lambda *part: self._request(lambda: fetch(*part), name)
        return file

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _listed(self, path: str, flat: bool) -> Iterator[dict[str, Any]]:
        """Yield fsspec's entries in a folder, with `flat` of all objects below it."""
        try:
            if self._protocol == "s3":
                yield from self._s3_pages(path, flat)
                return
            with suppress(FileNotFoundError):
                if flat:
                    found = self._request(lambda: self._fs.find(path, detail=True), "")
                    yield from found.values()
                else:
                    yield from self._request(lambda: self._fs.ls(path, detail=True), "")
        except OSError as error:
            raise self._error("", "listed", error) from None

    def _s3_pages(self, path: str, flat: bool) -> Iterator[dict[str, Any]]:
        """Yield the entries of pages of 1000, each requested by itself and repeated if it fails."""
        bucket, _, key = path.partition("/")
        asked = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
        asked |= {} if flat else {"Delimiter": "/"}
        while True:
            page = self._request(lambda: self._fs.call_s3("list_objects_v2", **asked), "")
            for each in page.get("CommonPrefixes", ()):
                yield {"name": f"{bucket}/{each['Prefix'][:-1]}", "type": "directory", "size": 0}
            for each in page.get("Contents", ()):
                is_marker = each["Key"] == asked["Prefix"]
                if not is_marker:
                    kind = {"name": f"{bucket}/{each['Key']}", "type": "file"}
                    yield each | kind | {"size": each["Size"]}
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _request(self, call: Callable[[], _Result], name: str) -> _Result:
        start, wait = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                result = call()
            except Exception as error:
                if not _is_transient(error):
                    if isinstance(error, OSError | FaceOpsError | MemoryError):
                        raise
                    raise self._error(name, "reached", error) from None
                why = first_line(error)[:_SHOWN]
            else:
                self._waits = False
                return result
            left = start + PATIENCE_S - time.monotonic()
            if left <= 0:
                raise NoAnswerError(
                    f"{self.url} has not answered for {PATIENCE_S:g} seconds ({why}); check the "
                    "connection and the store, and run it again: it continues."
                )
            if not self._waits:
                self._waits = True
                _LOG.warning(
                    "%s does not answer (%s): trying again for up to %g s",
                    *(self.url, without_secrets(why), PATIENCE_S),
                )
            time.sleep(min(left, wait * random.uniform(0.5, 1.5)))
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _error(self, name: str, what: str, error: Exception) -> ObjectStoreError:
        whole = f"{self.url.rstrip('/')}/{name}" if name else self.url
        advice = "check its name, and that these credentials may do this"
        if type(error).__name__ == "NoCredentialsError":
            advice = "give credentials by the store's own means, such as AWS_PROFILE"
        kind = NoBucketError if isinstance(error, FileNotFoundError) else ObjectStoreError
        return kind(f"{whole} cannot be {what} ({first_line(error)[:_SHOWN]}); {advice}.")

    def _changed(self, name: str) -> ChangedError:
        return ChangedError(
            f"{self.url.rstrip('/')}/{name} was changed meanwhile; run it again: it continues."
        )


def _entry(name: str, info: dict[str, Any]) -> Entry:
    is_folder = info["type"] == "directory"
    return Entry(name, is_folder, int(info.get("size") or 0), "" if is_folder else _version(info))


def _version(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "generation", "md5", "checksum"):
        if info.get(key):
            return str(info[key])
    keys = ("ino", "mtime", "modified", "LastModified", "last_modified", "updated", "created")
    times = (info.get(key) for key in keys)
    return " ".join(t.isoformat() if isinstance(t, datetime) else str(t) for t in times if t)


def _is_changed(error: Exception) -> bool:
    answer = getattr(error.__cause__, "response", None)  # of S3, a dict
    return isinstance(answer, dict) and answer["Error"]["Code"] == "PreconditionFailed"


def _is_transient(error: Exception) -> bool:
    """Return whether the store did not answer, or said that it cannot answer now."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        return True
    code = getattr(error, "code", None) or getattr(error, "status", None)
    if isinstance(code, int) and (code >= 500 or code == 429):
        return True
    return not _TRANSIENT_CLASSES.isdisjoint(each.__name__ for each in type(error).__mro__)
