"""A part of a folder's photos, looked at ahead of the run that names them."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from faceops.identification.face_store import FaceStore
from faceops.identification.look import GROUP, Looker
from faceops.identification.method import method_of
from faceops.identification.output_folder import STATE_FILE
from faceops.identification.part_clock import PartClock
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle


def shards(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Return `paths` in parts of `size`, whole groups of the engine, in order."""
    size = max(GROUP, size - size % GROUP)
    return [list(paths[start : start + size]) for start in range(0, len(paths), size)]


def find_shard(
    paths: Sequence[Path],
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> int:
    """Find and embed the faces of `paths`, keep them in `out`, return how many photos were opened.

    The run that follows (`identify`) then opens none of them. Done again it does nothing; shards
    may be worked on at the same time, in threads or processes.
    """
    out.mkdir(parents=True, exist_ok=True)
    new = 0
    limits = settings.limits
    method = method_of(bundle.release, limits, settings.detail)
    with contextlib.closing(FaceStore(out / STATE_FILE, method)) as store:
        finder = bundle.face_finder(settings.detail)
        looker = Looker(bundle, finder, store, limits, PartClock(), settings.keep_crops)
        for start in range(0, len(paths), GROUP):
            looked = looker.look(paths[start : start + GROUP])
            new += sum(one.opened for one in looked)
    return new
