"""CPU time of the look at a photo, by part and beside the nets' own, and of the plain way.

    python -m benchmarks.look --bundle build/export --lfw LFW/lfw-deepfunneled --groups GROUP_PHOTOS

Three kinds of JPEGs: group photos enlarged to 12 megapixels; the same with 600 to 1,200 pixels on
the longest side; and photos of LFW, 250 pixels. The plain way decodes each photo in full, copies
its pixels into an array, searches it at the detector's size and in overlapping tiles of that size,
and embeds face by face. Both use the same nets on one thread, in turns photo by photo, and for each
photo the smaller of two times counts. It is CPU time of this thread, which other load affects less.
"""

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from faceops.base.progress import track
from faceops.faces import find_faces
from faceops.faces.detector import box_overlap
from faceops.faces.find_faces import FaceFinder
from faceops.identification.settings import DETAIL
from faceops.release.bundle import Bundle

PARTS, NETS = ("open", "detect", "crop", "embed"), "nets"
TILE, STEP = 640, 512  # of the plain way
Look = Callable[[Path], int]  # returns the number of faces


class Clock(Counter[str]):
    """CPU seconds by part; those of the nets are apart."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to the part, less that of the nets in it."""
        nets, start = self[NETS], time.thread_time()
        yield
        spent = time.thread_time() - start
        self[name] += spent if name == NETS else spent - (self[NETS] - nets)

    def watch(self, owner: Any, function: str, name: str) -> None:
        """Measure the calls of a function of a module or class as a part."""
        original = getattr(owner, function)

        def measured(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return original(*args, **options)

        setattr(owner, function, measured)


def write_photos(groups: Path, lfw: Path, folder: Path, count: int) -> dict[str, list[Path]]:
    """Return photos of each kind; enlarged ones are written into `folder`."""
    random, kinds = Random(0), {"12 megapixels": [], "600 to 1,200 pixels": []}
    for source, (kind, paths) in itertools.product(sorted(groups.glob("*.jpg")), kinds.items()):
        with Image.open(source) as image:
            scale = (12e6 / (image.width * image.height)) ** 0.5
            if kind != "12 megapixels":
                scale = random.uniform(600, 1200) / max(image.size)
            sides = round(image.width * scale), round(image.height * scale)
            paths.append(folder / f"{sides[0]}_{source.name}")
            image.convert("RGB").resize(sides, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return kinds | {"250 pixels": random.sample(sorted(lfw.glob("*/*.jpg")), count)}


def plain_way(bundle: Bundle, finder: FaceFinder, clock: Clock) -> Look:
    """Return the plain way to find and embed the faces of a photo."""

    def look(path: Path) -> int:
        Image.core.set_use_block_allocator(0)  # type: ignore[attr-defined]  # as Pillow does
        with clock.part("open"), Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        with clock.part("detect"):
            found = finder.detect(pixels)
            scale = min(1.0, DETAIL / max(pixels.shape))
            if scale * max(pixels.shape) > TILE:
                sides = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
                view = np.asarray(Image.fromarray(pixels).resize(sides))
                starts = (range(0, max(side - TILE, 0) + STEP, STEP) for side in view.shape[:2])
                for top, left in itertools.product(*starts):
                    tile = view[top : top + TILE, left : left + TILE]
                    for face in finder.detect(tile) if min(tile.shape[:2]) > 1 else []:
                        moved = face.moved((1 / scale, 1 / scale), (left, top))
                        if all(box_overlap(moved.box, other.box) < 0.3 for other in found):
                            found.append(moved)
        faces = finder.crop(pixels, found)
        with clock.part("embed"):
            for each in faces:
                bundle.embed(each.crop[None])
        Image.core.set_use_block_allocator(1)  # type: ignore[attr-defined]
        return len(faces)

    return look


def our_way(bundle: Bundle, finder: FaceFinder, clock: Clock) -> Look:
    """Return the way of `faceops identify`, which also fills batches over 32 photos."""

    def look(path: Path) -> int:
        faces = find_faces.find_in_photo(path, finder).faces
        with clock.part("embed"):
            if faces:
                bundle.embed(np.stack([face.crop for face in faces]))
        return len(faces)

    return look


def main() -> None:
    """Print a table for each kind of photo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--photos", type=int, default=200, help="of LFW")
    args = parser.parse_args()
    clock, bundle = Clock(), Bundle.load(args.bundle, precision=args.precision)
    clock.watch(onnxruntime.InferenceSession, "run", NETS)
    clock.watch(find_faces, "open_photo", "open")
    clock.watch(FaceFinder, "detect_turned", "detect")
    clock.watch(FaceFinder, "crop", "crop")
    ways = {
        "faceops": our_way(bundle, bundle.face_finder(DETAIL), clock),
        "plain": plain_way(bundle, bundle.face_finder(), clock),
    }
    print(
        "CPU ms a photo | faces | all | nets | beside them |", " | ".join(PARTS), "| over the nets"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind, paths in write_photos(args.groups, args.lfw, Path(folder), args.photos).items():
            totals, faces = {name: Clock() for name in ways}, Counter[str]()
            for path in track(paths, kind):
                best: dict[str, Clock] = {}
                for number, (name, look) in itertools.product(range(2), ways.items()):
                    clock.clear()
                    faces[name] += look(path) * (not number)
                    if name not in best or clock.total() < best[name].total():
                        best[name] = Clock(clock)
                for name, spent in best.items():
                    totals[name].update(spent)
            for name, spent in totals.items():
                ms = {part: 1000 * spent[part] / len(paths) for part in (NETS, *PARTS)}
                beside = sum(ms[part] for part in PARTS)
                cells = [faces[name], *(f"{ms[part]:.2f}" for part in PARTS)]
                cells[1:1] = [f"{beside + ms[NETS]:.2f}", f"{ms[NETS]:.2f}", f"{beside:.2f}"]
                over = f"{(beside + ms[NETS]) / ms[NETS]:.2f}"
                print(f"{kind}, {name} |", " | ".join(map(str, cells)), "|", over, flush=True)


if __name__ == "__main__":
    main()
