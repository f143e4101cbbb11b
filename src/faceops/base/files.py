"""Files: replaced atomically, locked between processes, their SHA-256 and names; CSV files."""

import csv
import hashlib
import io
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from faceops.base.errors import FaceOpsError, InUseError, first_line, shortage

# A spreadsheet would run =HYPERLINK(...) in the name of a file or a person.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NAME_BYTES = 255  # the longest file name of common file systems


def valid_unicode(text: str) -> str:
    """Return a file name as valid Unicode; a byte that is not UTF-8 becomes a backslash code."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def paths_shown_as(folder: Path, shown: str) -> list[Path]:
    """Return the existing paths below `folder` that `valid_unicode` shows as `shown` (with /).

    There may be two, since a name may itself contain a backslash. Folders are listed only for
    parts with a backslash; one that may not be listed counts as empty.
    """
    paths = [folder]
    for part in Path(shown).parts:
        parents, paths = paths, []
        for parent in parents:
            if "\\" not in part:
                paths.append(parent / part)
                continue
            with suppress(OSError):
                paths += sorted(p for p in parent.iterdir() if valid_unicode(p.name) == part)
    return [path for path in paths if path.exists()]


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file `path` in hexadecimal, reading it in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the folder of downloads: FACEOPS_CACHE, else `faceops` in the user's cache."""
    if own := os.environ.get("FACEOPS_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "faceops"
    return Path("~/.cache/faceops").expanduser()


def temporary_name(path: Path) -> Path:
    """Return the hidden name beside `path` under which `atomic_path` and others write it.

    It is always the same one, so that a later write overwrites what a killed process left.
    """
    name = f".{path.name}.tmp"
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp"
    return path.with_name(name)


@contextmanager
def atomic_path(path: Path, *, temporary: Path | None = None, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there then replaces `path`.

    After an error, such as a full disk, `path` is as it was and the temporary file is removed. An
    existing file keeps its permissions. `temporary` is in the same folder, by default
    `temporary_name` of `path`; `sync` flushes the file to the disk first, so that it also survives
    a power failure.
    """
    temporary = temporary or temporary_name(path)
    try:
        temporary.unlink(missing_ok=True)  # it may have other permissions, or be a link
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_file(path: Path, content: bytes | str, *, sync: bool = False) -> None:
    """Write `content` (text as UTF-8) to `path` atomically; missing folders are created.

    Bytes of names that are not UTF-8 are written as escapes that JSON gives back.

    `sync`: see `atomic_path`.

    Raises FaceOpsError: the folder cannot be written, or the disk is full.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, sync=sync) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise write_error(path, error) from None


def write_error(path: Path, error: OSError) -> FaceOpsError:
    """Return the error that says why `path` cannot be written, and what to do about that."""
    if lack := shortage(error):
        return FaceOpsError(f"{path} cannot be written: {lack}")
    why = error.strerror or error
    return FaceOpsError(
        f"{path} cannot be written ({why}); give this user permission to write it, or choose "
        "another folder."
    )


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the content of `path`.

    Raises OSError: it cannot be read; ValueError: it is not UTF-8, not JSON, too deeply nested, or
    no JSON object.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__} where a JSON object is expected")
    return content


def json_texts(value: object) -> Iterator[str]:
    """Yield all texts in the content of a JSON file, those of keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *json_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from json_texts(inner)


@contextmanager
def stage_output(file: Path) -> Iterator[None]:
    """Turn what reading `file`, which a stage wrote, raises into one sentence (FaceOpsError)."""
    try:
        yield
    except FileNotFoundError:
        raise FaceOpsError(f"{file} does not exist; run `dvc repro` to build it.") from None
    except (OSError, ValueError, EOFError, NotImplementedError) as error:  # Arrow's are such too
        reason = first_line(error)
        raise FaceOpsError(f"{file} cannot be read ({reason}); run `dvc repro`.") from None


def write_json(path: Path, content: object, *, sync: bool = False) -> None:
    """Write `content` to `path` as `write_file`; equal content gives equal bytes."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    write_file(path, text + "\n", sync=sync)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `path` that replaces `path` when the block succeeds."""
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_folder(source: Path, target: Path) -> None:
    """Move the folder `source` to `target`, on the same file system, replacing what is there.

    When several processes replace `target` at the same time, one of their folders stays.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.is_dir():
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first
            with suppress(OSError):
                old.rename(target)
            raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def file_lock(path: Path, busy: str, advice: str = "wait until it has ended") -> Iterator[None]:
    """Lock `path` for this process, or fail at once.

    The operating system releases the lock when the process ends, even when it is killed. `path` is
    a lock file, created if absent, which names the process that holds it; or an existing folder,
    which cannot. The error message begins with `busy`, such as "DIR is being rebuilt", and ends
    with `advice`.

    Raises InUseError: another process holds it; FaceOpsError: the file cannot be written or locked.
    """
    is_folder = path.is_dir()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        try:
            if not lock_descriptor(descriptor, blocking=False):
                holder = "" if is_folder else _holder(descriptor)
                raise InUseError(f"{busy} by another faceops process{holder}; {advice}.")
        except OSError as error:  # such as a network share without locks
            raise FaceOpsError(f"{path} cannot be locked ({error.strerror}).") from None
        if is_folder:
            yield
            return
        since = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with suppress(OSError):  # on a full disk the lock works without the note
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)  # releases the lock


def folder_lock(folder: Path) -> AbstractContextManager[None]:
    """Lock `folder`, created if absent, by its file `.lock`, see `file_lock`."""
    advice = "wait until it has ended, or choose another folder"
    return file_lock(folder / ".lock", f"{folder} is in use", advice)


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 1000, 0))
        return f" (pid {note['pid']} on {note['host']}, since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ", which has just started"  # and is about to write its note


def csv_cell(value: object) -> object:
    """Return `value`; a text that a spreadsheet would take for a formula gets an apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def csv_text(cell: str) -> str:
    """Return the text that `csv_cell` turned into `cell`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], errors: str = "strict"
) -> None:
    """Write a CSV file atomically: UTF-8, quoted where needed, None as an empty cell.

    `errors`: how to encode what UTF-8 cannot hold, see `str.encode`.

    Raises FaceOpsError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_file(path, text.getvalue().encode("utf-8", errors))
