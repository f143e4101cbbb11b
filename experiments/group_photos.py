"""Faces found in group photos, with and without tiles, compared with the labels.

    python -m experiments.group_photos GROUP_PHOTOS_DIR --bundle build/export

First the photos as they are; they are small and their faces large. Then 12-megapixel mosaics of
them at several scales, with faces as small as those of a school photo. A label counts as found if a
face overlaps it with an intersection over union of 0.3 (dlib's boxes are tighter than ours); a face
that overlaps no label is extra. The folder holds dlib's training.xml and testing.xml.
"""

import statistics
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from experiments import parser, run
from faceops.faces.detector import box_overlap
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import Bundle

Box = tuple[float, float, float, float]
DETAILS = (0, 1280, 1920, 2560, 4000)
SCALES = (2.0, 1.0, 0.5)
WIDTH, HEIGHT = 4000, 3000
FOUND = 0.3
TIMES = 3


def labels(folder: Path) -> dict[str, list[Box]]:
    """Return the labelled boxes of each photo, without duplicates, from both lists."""
    boxes: dict[str, list[Box]] = {}
    for listing in ("training.xml", "testing.xml"):
        for image in ElementTree.parse(folder / listing).getroot().iter("image"):
            known = boxes.setdefault(Path(image.attrib["file"]).name, [])
            for one in image.iter("box"):
                left, top, width, height = (
                    float(one.attrib[side]) for side in ("left", "top", "width", "height")
                )
                box = (left, top, width, height)
                if not any(box_overlap(box, other) > 0.5 for other in known):
                    known.append(box)
    return boxes


def mosaic(
    photos: dict[str, np.ndarray], boxes: dict[str, list[Box]], scale: float
) -> tuple[np.ndarray, list[Box]]:
    """Return a picture of 12 megapixels filled with the photos at `scale`, and its labels."""
    canvas, found = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), []
    left = top = row = number = 0
    names = sorted(photos)
    while True:
        name = names[number % len(names)]
        number += 1
        photo = Image.fromarray(photos[name])
        size = round(photo.width * scale), round(photo.height * scale)
        if left + size[0] > WIDTH:
            left, top, row = 0, top + row, 0
        if top + size[1] > HEIGHT:
            return canvas, found
        canvas[top : top + size[1], left : left + size[0]] = np.asarray(
            photo.resize(size, Image.Resampling.LANCZOS)
        )
        found += [
            (left + x * scale, top + y * scale, w * scale, h * scale) for x, y, w, h in boxes[name]
        ]
        left, row = left + size[0], max(row, size[1])


def measure(
    pictures: list[np.ndarray], labelled: list[list[Box]], bundle: Bundle, detail: int
) -> tuple[int, int, float]:
    """Return how many labels were found, how many faces were extra, and milliseconds a picture."""
    finder = bundle.face_finder(detail)
    found = extra = 0
    medians = []
    for picture, boxes in zip(pictures, labelled, strict=True):
        seconds = []
        for _ in range(TIMES):
            start = time.perf_counter()
            faces = [detection.box for detection in finder.detect(picture)]
            seconds.append(time.perf_counter() - start)
        medians.append(statistics.median(seconds))
        found += sum(any(box_overlap(face, box) >= FOUND for face in faces) for box in boxes)
        extra += sum(not any(box_overlap(face, box) >= FOUND for box in boxes) for face in faces)
    return found, extra, 1000 * sum(medians) / len(medians)


def main() -> None:
    """Print a table for the photos, and one for each mosaic."""
    options = parser(__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--bundle", type=Path, default=Path("build/export"))
    args = options.parse_args()
    bundle = Bundle.load(args.bundle)
    boxes = labels(args.folder)
    photos = {name: open_photo(args.folder / name).pixels for name in sorted(boxes)}
    sets = {"as they are": ([*photos.values()], [boxes[name] for name in photos])}
    for scale in SCALES:
        picture, labelled = mosaic(photos, boxes, scale)
        side = statistics.median(box[2] for box in labelled)
        sets[f"12 megapixels, faces of {side:.0f} pixels"] = ([picture], [labelled])
    for name, (pictures, wanted) in sets.items():
        total = sum(map(len, wanted))
        print(f"\n{name}: {total} labelled faces\n| detail | found | extra | ms a picture |")
        print("| --- | --- | --- | --- |")
        for detail in DETAILS:
            found, extra, milliseconds = measure(pictures, wanted, bundle, detail)
            print(
                f"| {detail or 'no tiles'} | {found / total:.3f} | {extra} | {milliseconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    run(main)
