"""The cost of searching photos at quarter turns in ordinary folders, and the gain in turned photos.

    python -m benchmarks.turned_photos --lfw DIR --bundle build/export

DIR holds a folder of photos a person (lfw-deepfunneled). Ordinary photos: 210 of LFW, and 90
without a face, which are corners of others, enlarged to 640 x 480. The ratio: CPU seconds of a
first run of `identify` with what turns add to the search, to those without; the least of `--times`.
Turned photos: two each of 100 people of whom two others are enrolled, turned in pixels.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from PIL import Image

from faceops.faces.find_faces import FaceFinder, find_in_photo
from faceops.gallery.enrol import enrol
from faceops.gallery.store import Gallery
from faceops.identification.records.records import read_columns
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import Bundle

PEOPLE, EACH = 100, 2  # enrolled from two photos, and two more to be named
WITH_FACE, WITHOUT = 210, 90
CORNER = (0, 190, 80, 250)  # of a photo of 250 x 250 pixels


class AsTheyAre(Bundle):
    """A release that turns no photo."""

    def face_finder(self, detail: int = 0) -> FaceFinder:
        """Return the finder of training."""
        return self.finder_of_any_mode(self.threads, detail)


def cost(photos: Path, gallery: Path, bundle: Bundle) -> float:
    """Return the CPU seconds of a first run over `photos`."""
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        identify(photos, Gallery.open(gallery), bundle, Path(out), IdentifySettings(threads=1))
        return time.process_time() - start


def extra(photos: Path, finders: list[FaceFinder], times: int) -> float:
    """Return the CPU seconds that the second finder takes longer than the first for `photos`.

    The runs as a whole differ by more from one to the next.
    """
    seconds = [0.0, 0.0]
    for path in sorted(photos.iterdir()):
        pixels = open_photo(path).pixels
        taken: list[list[float]] = [[], []]
        for which in (0, 1) * times:
            start = time.process_time()
            finders[which].detect_turned(pixels)
            taken[which].append(time.process_time() - start)
        seconds = [sum_ + min(each) for sum_, each in zip(seconds, taken, strict=True)]
    return seconds[1] - seconds[0]


def make_ordinary(lfw: list[Path], folder: Path, finder: FaceFinder) -> None:
    """Fill `folder` with photos with and without faces."""
    folder.mkdir()
    for path in lfw[:WITH_FACE]:
        (folder / path.name).symlink_to(path.resolve())
    without = 0
    for path in lfw[WITH_FACE:]:
        with Image.open(path) as image:
            corner = image.crop(CORNER).resize((640, 480), Image.Resampling.BICUBIC)
        corner.save(folder / f"corner_{path.name}", quality=90)
        if find_in_photo(folder / f"corner_{path.name}", finder).faces:
            (folder / f"corner_{path.name}").unlink()
        else:
            without += 1
        if without == WITHOUT:
            return
    sys.exit("DIR has too few photos; name lfw-deepfunneled.")


def named(photos: Path, gallery: Path, bundle: Bundle) -> tuple[int, int, int]:
    """Return the numbers of photos with a face and with the right name, and of wrong names."""
    with tempfile.TemporaryDirectory() as out:
        identify(photos, Gallery.open(gallery), bundle, Path(out))
        rows = list(read_columns(Path(out) / "faces.parquet", "photo_path", "x", "person"))
    names = [(path.rsplit("_", 1)[0].replace("_", " "), name) for path, _, name in rows if name]
    right = sum(person == name for person, name in names)
    return len({path for path, x, _ in rows if x is not None}), right, len(names) - right


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    bundle, draw = Bundle.load(args.bundle), Random(5)
    ways = {"as they are": AsTheyAre(**vars(bundle)), "with turns": bundle}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        able = [path for path in sorted(args.lfw.iterdir()) if len(list(path.glob("*.jpg"))) >= 4]
        people = draw.sample(able, PEOPLE)
        for person in people:
            photos = sorted(person.glob("*.jpg"))
            (folder / "people" / person.name).mkdir(parents=True)
            for path in photos[:EACH]:
                (folder / "people" / person.name / path.name).symlink_to(path.resolve())
            for path, turns in itertools.product(photos[EACH : 2 * EACH], range(4)):
                (folder / str(90 * turns)).mkdir(exist_ok=True)
                with Image.open(path) as image:
                    turned = image.rotate(90 * turns, expand=True)
                turned.save(folder / str(90 * turns) / path.name, quality=95)
        gallery = folder / "gallery"
        enrol(folder / "people", gallery, bundle)

        sample = draw.sample(sorted(args.lfw.glob("*/*.jpg")), 1000)
        make_ordinary(sample, folder / "ordinary", bundle.finder_of_any_mode(1))
        ordinary = folder / "ordinary"
        whole = min(cost(ordinary, gallery, ways["as they are"]) for _ in range(args.times))
        more = extra(ordinary, [way.face_finder() for way in ways.values()], args.times)
        print(f"{WITH_FACE + WITHOUT} ordinary photos: {whole:.2f} s, turns {more:.3f} s more,")
        print(f"ratio {1 + more / whole:.3f}")
        print("| turned by | searched | photos with a face | named rightly | wrong names |")
        print("| ---: | --- | ---: | ---: | ---: |")
        for degrees, (way, release) in itertools.product((0, 90, 180, 270), ways.items()):
            faces, right, wrong = named(folder / str(degrees), gallery, release)
            print(f"| {degrees}° | {way} | {faces} | {right} | {wrong} |", flush=True)


if __name__ == "__main__":
    main()
