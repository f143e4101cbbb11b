"""What makes the five landmarks better? O-Net's crop, averages, mirrors, a second pass.

    python experiments/landmark_variants.py LFW_FOLDER --cache DIR --out FILE.json

Each photo is searched once; then every variant places the landmarks of the same face, and SFace
as published embeds the crop. The choice is made on people of LFW's View 1 (peopleDevTrain.txt:
those with two photos or more, their first four, for one person with 530 would outweigh all
others), each figure beside its paired difference to what `faces/landmarks.py` does. DevTest's
people confirm, for `--confirm` alone; with --view2 so does View 2, but seven in ten of its people
are in DevTrain, so only DevTest is unseen by the choice. Nothing is fitted. Embeddings are kept
in DIR by variant: a killed run goes on, and a new variant costs only itself.

Apart from SFace: how far the landmarks stray when the same photo is shifted, scaled or turned, in
% of the distance between the eyes. That tells how steady they are, not how right.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import write_json
from faceops.base.progress import track
from faceops.evaluation.alterations import Altered, rotated
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.evaluate import rounded
from faceops.evaluation.lfw_view2 import lfw_view2
from faceops.evaluation.listed_pairs import FARS
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import scan_pairs
from faceops.evaluation.pairs_list import read_pairs_list
from faceops.faces.align import align
from faceops.faces.choose_face import choose_face
from faceops.faces.detection import Detection
from faceops.faces.detector import Detector
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.faces.ordered_map import ordered_map
from faceops.faces.square_crop import square_crop
from faceops.faces.symbolic_detector import with_symbolic_size
from faceops.photos.open_photo import open_photo
from faceops.release.export import serialise
from faceops.release.onnx_embedder import adapt_embedder
from faceops.verification.verifier import Verifier
from faceops.weights.settings import weight_path

SEED, REPEATS = 7, 1000
TODAY = "onet .95"
MIRROR_EMBEDDING = "onet .95, embedding with mirror"
PER_PERSON = 4
CHUNK = 64  # photos a file of the cache
SIDE = 48  # O-Net's input, pixels
MIRRORED = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face, put back in order
# From the middle of the box to the mean of the five landmarks, in shares of its longer side:
# the mean over DevTrain's faces.
CENTROID = np.array([0.0, 0.06])

Square = tuple[float, float, float]  # left, top, side in pixels
Place = Callable[[np.ndarray, Detection], np.ndarray]  # pixels, YuNet's face -> float (5, 2)


class ONet:
    """O-Net on squares of a photo."""

    def __init__(self) -> None:
        self._session = open_session(weight_path("onet"), 1)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def fractions(self, crops: np.ndarray) -> np.ndarray:
        """Return (N, 5, 2), shares of the side, for uint8 (N, 48, 48, 3)."""
        net_input = (crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 128
        row = self._session.run([self._output], {self._input: net_input})[0]
        return np.asarray(row.reshape(-1, 2, 5).transpose(0, 2, 1))

    def mean(self, pixels: np.ndarray, squares: Sequence[Square], mirror: bool) -> np.ndarray:
        """Return float (5, 2): the mean over `squares`, with `mirror` each seen mirrored too."""
        crops = np.stack([square_crop(pixels, *square, SIDE) for square in squares])
        if mirror:
            crops = np.concatenate([crops, crops[:, :, ::-1]])
        found = self.fractions(crops)
        if mirror:
            back = found[len(squares) :, MIRRORED] * (-1, 1) + (1, 0)
            found = (found[: len(squares)] + back) / 2
        corners, sides = np.split(np.array(squares)[:, None], [2], axis=2)
        return np.asarray((found * sides + corners).mean(axis=0))


def square(box: tuple[float, ...], share: float, right: float = 0, down: float = 0) -> Square:
    """Return the square around the middle of `box`, moved by shares of its side."""
    x, y, width, height = box
    side = max(share * max(width, height), 1.0)
    return x + (width - side) / 2 + right * side, y + (height - side) / 2 + down * side, side


def variants(onet: ONet) -> dict[str, Place]:
    """Return every way to place the landmarks, by name."""

    def crops(
        shares: Sequence[float], moves: Sequence[tuple[float, float]] = ((0, 0),), *,
        mirror: bool = False,
    ) -> Place:  # fmt: skip
        return lambda pixels, face: onet.mean(
            pixels, [square(face.box, share, *move) for share in shares for move in moves], mirror
        )

    def again(pixels: np.ndarray, face: Detection, first: np.ndarray) -> Square:
        side = 0.95 * max(face.box[2:])
        left, top = first.mean(axis=0) - CENTROID * max(face.box[2:]) - side / 2
        return float(left), float(top), side

    def two_passes(pixels: np.ndarray, face: Detection) -> np.ndarray:
        return onet.mean(pixels, [again(pixels, face, today(pixels, face))], False)

    def upright(pixels: np.ndarray, face: Detection) -> np.ndarray:
        """The second crop is turned so that the eyes are level."""
        first = today(pixels, face)
        left, top, side = again(pixels, face, first)
        right, down = first[1] - first[0]
        angle = float(np.arctan2(down, right))
        # Half as large again at twice the net's size, so that turning loses no corner.
        wide = square_crop(pixels, left - side / 4, top - side / 4, 1.5 * side, 3 * SIDE)
        turned = Image.fromarray(wide).rotate(np.degrees(angle), Image.Resampling.BILINEAR)
        inner = (SIDE / 2, SIDE / 2, 5 * SIDE / 2, 5 * SIDE / 2)
        crop = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=inner))
        from_middle = (onet.fractions(crop[None])[0] - 0.5) * side
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(from_middle @ turn.T + (left + side / 2, top + side / 2))

    def with_yunet(pixels: np.ndarray, face: Detection) -> np.ndarray:
        return (today(pixels, face) + face.landmarks) / 2

    today = crops([0.95])
    cross = [(0, 0), (-0.05, 0), (0.05, 0), (0, -0.05), (0, 0.05)]
    grid = [(right, down) for down in (-0.05, 0, 0.05) for right in (-0.05, 0, 0.05)]
    return {
        "yunet": lambda pixels, face: face.landmarks,
        "onet .90": crops([0.9]),
        TODAY: today,
        "onet 1.00": crops([1.0]),
        "onet 1.05": crops([1.05]),
        "half a pixel back": lambda pixels, face: today(pixels, face) - 0.5,
        "3 sizes": crops([0.9, 0.97, 1.05]),
        "5 shifts": crops([0.95], cross),
        "9 shifts": crops([0.95], grid),
        "mirror": crops([0.95], mirror=True),
        "3 sizes, mirror": crops([0.9, 0.97, 1.05], mirror=True),
        "5 shifts, mirror": crops([0.95], cross, mirror=True),
        "two passes": two_passes,
        "two passes, upright": upright,
        "mean with yunet": with_yunet,
        MIRROR_EMBEDDING: today,
    }


class Embedder:
    """SFace as published, PReLU rewritten, as a release holds it."""

    def __init__(self) -> None:
        model = serialise(adapt_embedder(onnx.load(weight_path("sface"))))
        self._session = open_session(model, 1)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Return float32 (N, 128), L2-normalised."""
        # One by one: in batches a crop costs half as much again without the arena.
        parts = [self._session.run(None, {"crops": crop[None]})[0] for crop in crops]
        return np.concatenate([np.zeros((0, 128), np.float32), *parts])


@dataclass(frozen=True)
class Work:
    """All that a chunk of photos needs; sessions may be shared by threads."""

    photos: Path
    cache: Path
    finder: FaceFinder
    places: dict[str, Place]
    embedder: Embedder

    def faces(self, photo: str) -> tuple[np.ndarray, Detection | None]:
        """Return the pixels and YuNet's own most central face."""
        pixels = open_photo(self.photos / path_of(photo)).pixels
        return pixels, self.central(pixels)

    def central(self, pixels: np.ndarray) -> Detection | None:
        """Return YuNet's own detection of the most central face."""
        found = self.finder.detect(pixels)
        faces = self.finder.cut(pixels, found)
        face = choose_face(faces, pixels.shape[1], pixels.shape[0], "most_central", 24)
        return None if face is None else found[faces.index(face)]

    def embed(self, name: str, crops: np.ndarray) -> np.ndarray:
        """Return float32 (N, 128) of one variant's crops."""
        embeddings = self.embedder(crops)
        if name == MIRROR_EMBEDDING:
            embeddings = embeddings + self.embedder(np.ascontiguousarray(crops[:, :, ::-1]))
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        return embeddings

    def chunk(self, photos: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return by variant float32 (N, 128), NaN where there is no face; kept in the cache."""
        which = hashlib.sha256("\n".join(photos).encode()).hexdigest()[:16]
        files = {name: self.cache / name / f"{which}.npy" for name in names}
        todo = [name for name, file in files.items() if not file.exists()]
        if todo:
            seen = [self.faces(photo) for photo in photos]
            there = np.array([face is not None for _, face in seen])
            for name in todo:
                crops = [align(pixels, self.places[name](pixels, face))
                         for pixels, face in seen if face is not None]  # fmt: skip
                table = np.full((len(photos), 128), np.nan, np.float32)
                if crops:
                    table[there] = self.embed(name, np.stack(crops))
                files[name].parent.mkdir(parents=True, exist_ok=True)
                temporary = files[name].with_suffix(".tmp")
                with temporary.open("wb") as file:
                    np.save(file, table)
                temporary.replace(files[name])
        return {name: np.load(file) for name, file in files.items()}


def embed_all(
    work: Work, photos: Sequence[str], names: Sequence[str], threads: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return by variant and photo its embedding; photos without a face are left out."""
    chunks = [photos[at : at + CHUNK] for at in range(0, len(photos), CHUNK)]
    done = ordered_map(lambda part: work.chunk(part, names), chunks, threads)
    tables: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for part, rows in zip(chunks, track(done, f"{CHUNK} photos", len(chunks)), strict=True):
        for name, table in rows.items():
            tables[name] |= {p: r for p, r in zip(part, table, strict=True) if np.isfinite(r[0])}
    return tables


def measure(
    tables: dict[str, dict[str, np.ndarray]], photos: Sequence[str], lfw: Path | None = None
) -> list[dict[str, Any]]:
    """Return a row a variant: all pairs of `photos`, the paired difference to today's, rank-1.

    With `lfw`, that folder's pairs.txt is scored too.
    """
    distance = Verifier(-np.ones(128, np.float32), 0.0, "distance")
    rows: list[dict[str, Any]] = []
    resampled = {}
    for name in track(sorted(tables, key=lambda name: name != TODAY), "scoring"):
        held = [photo for photo in photos if photo in tables[name]]
        faces = EmbeddedFaces(
            np.stack([tables[name][photo] for photo in held]),
            np.array([photo.rpartition("_")[0] for photo in held]),
            np.array([path_of(photo) for photo in held]),
            missing=tuple(path_of(photo) for photo in photos if photo not in tables[name]),
        )
        scan = scan_pairs(faces, distance, FARS)
        intervals = pair_intervals(scan, FARS, SEED, REPEATS)
        resampled[name] = intervals.resampled
        row: dict[str, Any] = {
            "variant": name,
            "photos": len(photos),
            "photos_without_face": len(faces.missing),
            "people": len(scan.photos),
            "genuine_pairs": len(scan.roc.genuine),
            "impostor_pairs": scan.roc.impostors,
            "rank_1": closed_set(faces, distance).rate(1),
            "roc_auc": scan.roc.auc,
        }
        lost = np.quantile(resampled[name] - resampled[TODAY], [0.025, 0.975], axis=0).T
        for far, (low, high) in zip(FARS, lost, strict=True):
            key = f"tar_at_far_{far:g}"
            row[key] = scan.roc.tar(far)
            first = rows[0][key] if rows else row[key]
            row[f"{key}_gain"] = row[key] - first
            row[f"{key}_gain_interval"] = {"low": float(low), "high": float(high)}
        if lfw:
            listed = lfw_view2(faces, distance, read_pairs_list(lfw / "pairs.txt"), SEED)
            figures = listed.figures(SEED)
            row |= {key: figures[key] for key in ("accuracy", "accuracy_standard_error")}
        rows.append(row)
    return rows


def affine(pixels: np.ndarray, scale: float, shift: tuple[float, float]) -> Altered:
    """Return the photo scaled about its middle, then shifted by pixels, in its old frame."""
    height, width = pixels.shape[:2]
    middle = (np.array([width, height]) - 1) / 2
    moved = np.column_stack([scale * np.eye(2), middle * (1 - scale) + shift])
    # Pillow takes new places to old ones and counts from the corner of the first pixel.
    right, down = 0.5 - (0.5 + moved[:, 2]) / scale
    image = Image.fromarray(pixels).transform(
        (width, height),
        Image.Transform.AFFINE,
        (1 / scale, 0, right, 0, 1 / scale, down),
        Image.Resampling.BICUBIC,
    )
    return Altered(np.asarray(image), moved)


def alterations(pixels: np.ndarray, face: Detection) -> dict[str, Altered]:
    """Return the photo shifted by a few pixels, scaled and turned."""
    return {
        "shifted": affine(pixels, 1.0, (2.5, -3.5)),
        "scaled": affine(pixels, 0.85, (0, 0)),
        "turned": rotated(pixels, face, degrees=10),
    }


def steadiness(work: Work, photos: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return by variant and alteration the mean distance of the landmarks of the altered photo,
    taken back, from those of the photo itself, in % of the distance between YuNet's eyes.

    Faces that are found in all of them count; the box is found anew in each.
    """
    strays: dict[str, list[dict[str, float]]] = {name: [] for name in work.places}
    for photo in track(photos, "altered photos"):
        pixels, face = work.faces(photo)
        if face is None:
            continue
        altered = alterations(pixels, face)
        found = {kind: work.central(new.pixels) for kind, new in altered.items()}
        if not all(found.values()):
            continue
        eyes = float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
        for name, place in work.places.items():
            due = place(pixels, face)
            strays[name].append(
                {
                    kind: 100 / eyes * float(np.linalg.norm(new.place(due) -
                    place(new.pixels, face_there), axis=1).mean()
                    / np.sqrt(abs(np.linalg.det(new.moved[:, :2]))))
                    for kind, new in altered.items()
                    if (face_there := found[kind]) is not None
                }
            )  # fmt: skip
    return {
        name: {kind: float(np.mean([row[kind] for row in rows])) for kind in rows[0]}
        | {"photos": len(rows)}
        for name, rows in strays.items()
    }


def costs(work: Work, photos: Sequence[str]) -> dict[str, float]:
    """Return milliseconds of CPU a face, medians over `photos`, one thread, taken in turn.

    Each variant's is of the landmarks alone; "align" and "embed" are what follows it.
    """
    spent: dict[str, list[float]] = {}

    def timed(name: str, action: Callable[..., np.ndarray], *inputs: Any) -> np.ndarray:
        start = time.thread_time()
        result = action(*inputs)
        spent.setdefault(name, []).append(1e3 * (time.thread_time() - start))
        return result

    for photo in track(photos, "timed photos"):
        pixels, face = work.faces(photo)
        if face is None:
            continue
        for name, place in work.places.items():
            points = timed(name, place, pixels, face)
        crop = timed("align", align, pixels, points)
        timed("embed", work.embedder, crop[None])
    return {name: float(np.median(times)) for name, times in spent.items()}


def people_of(file: Path, photos: Path) -> list[str]:
    """Return the first four photos of each person with two or more whom a list names."""
    try:
        lines = file.read_text("utf-8").splitlines()[1:]
    except OSError:
        raise UsageError(f"{file} cannot be read; name the folder with LFW's lists.") from None
    people = [line.split()[0] for line in lines if line.strip()]
    named = [[one.stem for one in sorted((photos / p).glob("*.jpg"))[:PER_PERSON]] for p in people]
    return sorted(photo for one in named if len(one) > 1 for photo in one)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of `measure`'s rows, gains with their 95 % intervals over people."""
    head = ["variant", *(f"TAR at {far:.0e}, gain" for far in FARS), "rank-1"]
    view2 = "accuracy" in rows[0]
    lines = [head + ["accuracy"] * view2, ["---"] * (len(head) + view2)]
    for row in rows:
        cells = [row["variant"]]
        for far in FARS:
            key = f"tar_at_far_{far:g}"
            gain, ends = row[f"{key}_gain"], row[f"{key}_gain_interval"]
            told = f"{row[key]:.4f}"
            if row["variant"] != TODAY:
                told += f", {gain:+.4f} ({ends['low']:+.4f} to {ends['high']:+.4f})"
            cells.append(told)
        cells.append(f"{row['rank_1']:.4f}")
        if view2:
            cells.append(f"{row['accuracy']:.4f} ± {row['accuracy_standard_error']:.4f}")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def worth(figures: dict[str, Any]) -> str:
    """Return a Markdown table of what each variant costs and how steady it is."""
    lines = [["variant", "ms a face", "shifted", "scaled", "turned"], ["---"] * 5]
    for name, stray in figures["stray_percent"].items():
        kinds = [f"{stray[kind]:.2f}" for kind in ("shifted", "scaled", "turned")]
        lines.append([name, f"{figures['ms'][name]:.2f}", *kinds])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def heading(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return what a table was measured on."""
    row = rows[0]
    return (
        f"{name}: {row['photos']:,} photos ({row['photos_without_face']} without a face) of "
        f"{row['people']:,} people, {row['genuine_pairs']:,} pairs of one person, "
        f"{row['impostor_pairs']:,} of two"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder with lfw-deepfunneled/ and LFW's lists")
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; .md stands beside")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--photos", type=int, default=0, help="of DevTrain, the first (0: all)")
    parser.add_argument("--aside", type=int, default=400, help="photos for steadiness and cost")
    parser.add_argument("--variants", nargs="*", help="those that SFace judges (default: all)")
    parser.add_argument("--confirm", nargs="*", default=[], help="variants for DevTest")
    parser.add_argument("--view2", action="store_true", help="confirm on View 2 as well, slow")
    args = parser.parse_args()
    photos = args.lfw / "lfw-deepfunneled"
    detector = Detector(with_symbolic_size(weight_path("yunet").read_bytes()))
    finder = FaceFinder(detector, LandmarkRefiner(weight_path("onet")))
    work = Work(photos, args.cache, finder, variants(ONet()), Embedder())
    judged = list(dict.fromkeys([TODAY, *(args.variants or work.places), *args.confirm]))
    if unknown := [name for name in judged if name not in work.places]:
        raise UsageError(f"{unknown[0]!r} is no variant; choose from: {', '.join(work.places)}.")

    train = people_of(args.lfw / "peopleDevTrain.txt", photos)[: args.photos or None]
    figures: dict[str, Any] = {
        "devtrain": measure(embed_all(work, train, judged, args.threads), train)
    }
    told = [f"{heading('DevTrain', figures['devtrain'])}\n\n{table(figures['devtrain'])}"]
    if args.confirm:
        names = list(dict.fromkeys([TODAY, *args.confirm]))
        test = people_of(args.lfw / "peopleDevTest.txt", photos)
        listed = read_pairs_list(args.lfw / "pairs.txt").photos.tolist()
        for key, title, of, lfw in (
            ("devtest", "DevTest", test, None),
            ("view2", "View 2", listed, args.lfw),
        )[: 1 + args.view2]:
            figures[key] = measure(embed_all(work, of, names, args.threads), of, lfw)
            told.append(f"{heading(title, figures[key])}\n\n{table(figures[key])}")
    aside = np.random.default_rng(SEED).choice(train, min(args.aside, len(train)), replace=False)
    figures["stray_percent"] = steadiness(work, aside.tolist())
    figures["ms"] = costs(work, aside.tolist())
    seen = figures["stray_percent"][TODAY]["photos"]
    told.append(
        f"Landmarks alone, CPU time on one thread, medians; aligning takes "
        f"{figures['ms']['align']:.2f} ms more, SFace {figures['ms']['embed']:.2f}. How far they "
        f"stray, in % of the distance between the eyes, when {seen} photos are shifted by "
        f"2.5 and 3.5 pixels, scaled to .85 or turned by 10 degrees.\n\n{worth(figures)}"
    )
    write_json(args.out, rounded(figures))
    text = "\n\n".join(told)
    args.out.with_suffix(".md").write_text(text + "\n")
    print(text)


def path_of(photo: str) -> str:
    """Return Ada_Lind/Ada_Lind_0002.jpg for Ada_Lind_0002."""
    return f"{photo.rpartition('_')[0]}/{photo}.jpg"


if __name__ == "__main__":
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
