"""Detect the faces of a photo with YuNet on ONNX Runtime.

YuNet: Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023. Every cell of its output
maps at strides 8, 16 and 32 holds a class score, an objectness score, a box as offset of its
centre and logarithm of its sides, and five landmarks as offsets, all in units of the stride.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError
from faceops.base.work import Device
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.inference_session import open_session
from faceops.photos.pixels import clipped_share, image_of, pixels_of, recover_highlights

Box = tuple[float, float, float, float]  # x, y, width, height

STRIDES = (8, 16, 32)
MAX_OVERLAP = 0.3  # intersection over union of two faces
SAME_BOX = 0.5  # intersection over union from which two boxes of one photo show one face
# The second attempt, for a face that fills the photo and is missed at the usual scale.
_RETRY_SCALE = 0.5  # of `Detector.size`
_RETRY_BORDER = 0.3  # black, of the longer side, all around
TRACE = 0.12  # score from which a place may show a face that does not stand upright
_PHOTO_CLIPPED = 0.05  # of a photo, clipped in some channels but not in all: searched twice


@dataclass(frozen=True, eq=False)
class Detection:
    """Where a face is, in pixels of the upright photo."""

    box: Box  # may reach over the photo's edge
    # float32 (5, 2), x and y of the eye on the viewer's left, the other eye, the nose's tip, the
    # corner of the mouth on the viewer's left, the other corner
    landmarks: np.ndarray
    score: float  # the detector's, 0 to 1

    @property
    def size(self) -> float:
        """The shorter side of the box in pixels."""
        return min(self.box[2], self.box[3])

    def moved(self, scale: tuple[float, float], shift: tuple[float, float] = (0, 0)) -> "Detection":
        """Return the detection shifted by `shift` and then scaled by `scale`, both (x, y)."""
        x, y, width, height = self.box
        left, top = (x + shift[0]) * scale[0], (y + shift[1]) * scale[1]
        box = left, top, width * scale[0], height * scale[1]
        landmarks = (self.landmarks + np.array(shift, np.float32)) * np.array(scale, np.float32)
        return Detection(box, landmarks, self.score)

    def turned_back(self, quarters: int, size: tuple[int, int]) -> "Detection":
        """Return the detection in pixels of a photo, found in its turned copy.

        `quarters` anticlockwise turns make the copy, as for `np.rot90`; `size` is its width and
        height.
        """
        (x, y, wide, high), landmarks, (width, height) = self.box, self.landmarks, size
        for _ in range(quarters):
            x, y, wide, high = height - y - high, x, high, wide
            landmarks = np.stack([height - 1 - landmarks[:, 1], landmarks[:, 0]], axis=1)
            width, height = height, width
        return Detection((x, y, wide, high), landmarks, self.score)


def with_symbolic_size(model: bytes) -> bytes:
    """Return YuNet's ONNX file with symbolic height and width: (1, 3, height, width).

    The graph is fully convolutional up to the reshapes at its heads, and those are by -1; so it
    runs at any multiple of 32. The same bytes come out for the same bytes in.

    Raises FaceOpsError: `model` is not an ONNX file, or another graph than YuNet's.
    """
    import onnx  # not needed by detection itself
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise FaceOpsError(
            f"the detector's file is not an ONNX model ({error}); supply it again."
        ) from None
    graph = proto.graph
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape":
            shape = constants.get(node.input[1])
            if shape is None or -1 not in onnx.numpy_helper.to_array(shape):
                raise FaceOpsError(
                    f"the detector's operator {node.name} fixes a size; use YuNet 2023mar."
                )
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise FaceOpsError("the detector must have one four-dimensional input; use YuNet 2023mar.")
    for axis, name in ((2, "height"), (3, "width")):
        inputs[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"anchors_{output.name.rsplit('_', 1)[1]}"
    del graph.value_info[:]  # the stale shapes of the fixed size
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)


class Detector:
    """YuNet, with symbolic height and width, at a maximum size.

    `model` is the ONNX file or its bytes, as `with_symbolic_size` makes it. Photos whose longest
    side is over `size` pixels are scaled down to it, never up. `threshold`, 0 to 1, is the smallest
    score of a face. From `version` 2 of the alignment on, an overexposed photo is searched a second
    time with `recover_highlights`.

    Raises UsageError: the device cannot be used; FaceOpsError: the model cannot be run or has a
    fixed size.
    """

    def __init__(
        self, model: Path | bytes, size: int = 640, threshold: float = 0.6, threads: int = 1,
        device: Device = "cpu", version: int = ALIGNMENT_VERSION,
    ) -> None:  # fmt: skip
        self._session = open_session(model, threads, shapes_vary=True, device=device)
        self._input = self._session.get_inputs()[0]
        if any(isinstance(side, int) for side in self._input.shape[2:]):
            raise FaceOpsError(
                f"the detector's model has the fixed input {self._input.shape}; "
                "make its height and width symbolic first."
            )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.size = size
        self.threshold = threshold
        self._version = version

    def search(
        self, pixels: np.ndarray, *, retry: bool = True
    ) -> tuple[list[Detection], Detection | None]:
        """Return the faces, best score first, and the place that scores best, None below `TRACE`.

        A place that scores less than a face may show one that does not stand upright. With
        `retry`, a photo without a face is tried again at half the size and in a black frame.
        `pixels`: uint8 (H, W, 3) RGB, upright.
        """
        found, best = self.search_at(pixels, self.size)
        return found or (self.search_framed(pixels) if retry else []), best

    def search_framed(self, pixels: np.ndarray) -> list[Detection]:
        """Return the faces as `search`, at half the size and in a black frame."""
        return self.search_at(pixels, _RETRY_SCALE * self.size, _RETRY_BORDER)[0]

    def search_at(
        self, pixels: np.ndarray, size: float, border_share: float = 0.0
    ) -> tuple[list[Detection], Detection | None]:
        """Return the faces and the best place as `search`, at another size.

        `border_share`: width of a black frame, of the longest side.
        """
        if not pixels.shape[0] or not pixels.shape[1]:
            return [], None
        height, width = pixels.shape[:2]
        small = scaled_down(pixels, min(1.0, size / max(height, width)))
        border = round(border_share * max(small.shape))
        views = [small]
        if self._version >= 2 and clipped_share(small[::2, ::2], recoverable=True) > _PHOTO_CLIPPED:
            views.append(recover_highlights(small))
        candidates = [self._candidates(view, border) for view in views]
        boxes, landmarks, scores = (np.concatenate(one) for one in zip(*candidates, strict=True))
        faces = np.flatnonzero(scores >= self.threshold)
        kept = faces[non_maximum_suppression(boxes[faces], scores[faces], MAX_OVERLAP)]
        # Sides were rounded to whole pixels, so each axis has its own scale.
        scale = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        boxes[:, :2] -= border
        landmarks -= border
        boxes *= np.tile(scale, 2)
        landmarks *= scale

        def detection(i: int) -> Detection:
            return Detection(tuple(boxes[i].tolist()), landmarks[i].copy(), float(scores[i]))

        best = detection(int(scores.argmax())) if len(scores) else None
        return [detection(i) for i in kept], best

    def _candidates(
        self, pixels: np.ndarray, border: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the plausible boxes, landmarks and scores as `decode` does."""
        net_input = _net_input(pixels, border)
        outputs = self._session.run(self._outputs, {self._input.name: net_input})
        maps = dict(zip(self._outputs, outputs, strict=True))
        boxes, landmarks, scores = decode(maps, net_input.shape[3], min(TRACE, self.threshold))
        # Unusual pixels may give boxes that are not finite or larger than the input.
        sides = boxes[:, 2:]
        in_range = (sides >= 1) & (sides <= 2 * max(net_input.shape[2:]))
        plausible = np.isfinite(boxes).all(axis=1) & in_range.all(axis=1)
        return boxes[plausible], landmarks[plausible], scores[plausible]


def scaled_down(pixels: np.ndarray, scale: float, *, fast: bool = False) -> np.ndarray:
    """Return `pixels` scaled by `scale` with anti-aliasing; unchanged at 1.

    `fast` averages over the area of each new pixel, less smoothly: in three fifths of the time, and
    a sixth by a whole number.
    """
    if scale >= 1.0:
        return pixels
    height, width = pixels.shape[:2]
    sides = (max(1, round(width * scale)), max(1, round(height * scale)))
    resample, gap = Image.Resampling.BILINEAR, 2.0
    if fast:
        resample, gap = Image.Resampling.BOX, 1.0
    return pixels_of(image_of(pixels).resize(sides, resample, reducing_gap=gap))


def _net_input(pixels: np.ndarray, border: int) -> np.ndarray:
    """Return float32 (1, 3, H', W') BGR 0-255, black around `pixels`; sides are multiples of 32."""
    height, width = pixels.shape[:2]
    multiple = STRIDES[-1]
    sides = [-(-(side + 2 * border) // multiple) * multiple for side in (height, width)]
    frame = np.zeros((1, 3, *sides), dtype=np.float32)
    inside = frame[0, :, border : border + height, border : border + width]
    inside[...] = pixels[:, :, ::-1].transpose(2, 0, 1)
    return frame


def decode(
    maps: Mapping[str, np.ndarray], width: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates that score `threshold` or more, in the order of the cells.

    `maps` are `cls_S` and `obj_S` float32 (1, cells, 1), `bbox_S` (1, cells, 4), `kps_S` (1, cells,
    10) for each stride S, row by row; `width` of the net's input in pixels is a multiple of 32. A
    score is the root of class score times objectness.

    Returns boxes float32 (N, 4) x, y, width, height; landmarks float32 (N, 5, 2); scores float32
    (N,); in pixels of the net's input.
    """
    boxes, landmarks, scores = [], [], []
    for stride in STRIDES:
        score = np.sqrt(
            np.clip(maps[f"cls_{stride}"][0, :, 0], 0, 1)
            * np.clip(maps[f"obj_{stride}"][0, :, 0], 0, 1)
        )
        cells = np.flatnonzero(score >= threshold)
        corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        box = maps[f"bbox_{stride}"][0, cells]  # (n, 4)
        centre = (corner + box[:, :2]) * stride
        sides = np.exp(box[:, 2:]) * stride
        points = maps[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)
        boxes.append(np.concatenate([centre - sides / 2, sides], axis=1))
        landmarks.append((corner[:, None, :] + points) * stride)
        scores.append(score[cells])
    return (
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(landmarks).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
    )


def non_maximum_suppression(
    boxes: np.ndarray, scores: np.ndarray, max_overlap: float, max_inside: float = math.inf
) -> np.ndarray:
    """Return the indices of the boxes to keep, best score first.

    A box, float (N, 4) x, y, width, height, is dropped when its intersection over union with a
    better kept one exceeds `max_overlap`, or its share inside that one `max_inside`, both 0 to 1.
    Equal `scores` float (N,) keep the order of their rows.
    """
    order = np.argsort(-scores, kind="stable")
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom = left + boxes[:, 2], top + boxes[:, 3]
    area = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        union = area[best] + area[rest] - shared
        order = rest[(shared <= max_overlap * union) & (shared <= max_inside * area[rest])]
    return np.array(kept, dtype=np.int64)


def distinct(found: list[Detection], max_inside: float) -> list[Detection]:
    """Return one detection of each face, best score first; see `non_maximum_suppression`."""
    if not found:
        return []
    boxes, scores = (np.array([getattr(one, name) for one in found]) for name in ("box", "score"))
    return [found[at] for at in non_maximum_suppression(boxes, scores, MAX_OVERLAP, max_inside)]


def box_overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    union = one[2] * one[3] + other[2] * other[3] - shared
    return shared / union if union > 0 else 0.0


def best_overlap(box: Box, boxes: Iterable[Box], least: float) -> int | None:
    """Return which of `boxes` overlaps `box` most, None if none does by at least `least`."""
    overlap, negative = max(
        ((box_overlap(box, other), -place) for place, other in enumerate(boxes)), default=(0.0, 0)
    )
    return -negative if overlap >= least else None


def best_pairs(pairs: Iterable[tuple[float, int, int]]) -> dict[int, int]:
    """Return which second each first gets, the best pairs first, where each is in one pair only.

    `pairs` are how good a pair is, higher being better, its first and its second.
    """
    given: dict[int, int] = {}
    for _, first, second in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if first not in given and second not in given.values():
            given[first] = second
    return given
