"""A release bundle at run time: verified files in ONNX Runtime sessions."""

import hashlib
import platform
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from faceops.base.errors import FaceOpsError, ShortageError, UsageError, shortage
from faceops.base.files import cache_folder, read_json_object, sha256_file, write_json
from faceops.base.work import Device, DeviceChoice, ordered_map, track
from faceops.faces.align import ALIGNMENT_VERSION, TEMPLATE
from faceops.faces.detector import Detector
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.inference_session import choose_device, open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release import contract
from faceops.release.contract import exported_graph
from faceops.release.release_file import DamagedBundleError, Precision, require_trusted

# On a CPU 8 take a fifth more time per crop, as their layers leave its cache.
EMBED_BATCH: dict[Device, int] = {"cpu": 4, "cuda": 64}
VERIFY_BATCH = 8192
STORE_BATCH = 64  # crops between two writes of stored embeddings


class Embedded(NamedTuple):
    """Embeddings of N faces."""

    embeddings: np.ndarray  # float32 (N, D), L2-normalised
    lengths: np.ndarray  # float32 (N,), of the first network's raw embeddings; NaN if not known

    @classmethod
    def without_lengths(cls, embeddings: np.ndarray) -> "Embedded":
        """Return embeddings whose lengths are not known."""
        return cls(embeddings, np.full(len(embeddings), np.nan, np.float32))


Embed = Callable[[np.ndarray], Embedded]  # of crops uint8 (B, 112, 112, 3) RGB


def run_embedder(
    session: onnxruntime.InferenceSession,
    crops: np.ndarray,
    embedding_size: int,
    workers: int = 1,
    device: Device = "cpu",
) -> Embedded:
    """Return the embeddings (N, embedding_size) of crops uint8 (N, 112, 112, 3) RGB.

    The last batch is padded to a power of two: with few batch sizes, ONNX Runtime's memory stays
    constant for any number of crops. `workers` batches run at a time: for many crops that
    needs less than a session of as many threads, which wait for each other after every operator.
    """
    result = Embedded.without_lengths(np.empty((len(crops), embedding_size), np.float32))
    size = EMBED_BATCH[device]

    def run(start: int) -> None:
        part = crops[start : start + size]
        batch = np.zeros((1 << (len(part) - 1).bit_length(), *crops.shape[1:]), crops.dtype)
        batch[: len(part)] = part
        embeddings, *raw = session.run(None, {"crops": batch})
        rows = slice(start, start + len(part))
        result.embeddings[rows] = embeddings[: len(part)]
        if raw:
            result.lengths[rows] = np.linalg.norm(raw[0][: len(part)], axis=1)

    starts = range(0, len(crops), size)
    for _ in map(run, starts) if workers == 1 else ordered_map(run, starts, workers):
        pass
    return result


class _Session:
    """A session that is opened when it is used first; a run over known photos embeds nothing."""

    def __init__(self, content: bytes, path: Path, threads: int, device: Device = "cpu") -> None:
        self._content: bytes | None = content
        self._path, self._threads, self._device = path, threads, device
        self._lock = threading.Lock()
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def opened(self) -> onnxruntime.InferenceSession:
        """The session; FaceOpsError as of `open_session`."""
        with self._lock:
            if self._session is None and self._content is not None:
                try:
                    self._session = open_session(self._content, self._threads, device=self._device)
                except (ShortageError, UsageError):
                    raise
                except FaceOpsError as error:
                    raise FaceOpsError(f"{self._path}: {error}") from None
                self._content = None
            return self._session


@dataclass(frozen=True)
class Bundle:
    """One loaded release."""

    release: contract.Release  # the content of release.json, of the chosen precision
    name: str  # the folder, or the models:/ address of the version
    folder: Path  # where its files are
    threads: int  # of each session
    _embedder: "_Session"
    _verifier: "_Session"
    _detector_bytes: bytes
    _landmarks_bytes: bytes
    note: str = ""  # what is unusual about how the release was found, for the user
    # Of detector, landmarks and embedder. The verifier runs on the CPU: equal embeddings then have
    # equal scores on every machine.
    device: Device = "cpu"

    @classmethod
    def load(
        cls,
        folder: Path,
        threads: int = 1,
        name: str | None = None,
        note: str = "",
        precision: Precision = "float32",
        *,
        own: bool = False,
        device: DeviceChoice = "cpu",
    ) -> "Bundle":
        """Load and check the bundle in `folder`; `threads` is for each of its sessions.

        With `precision` int8 it uses the int8 embedder, with its contract id and thresholds.
        `own` is a bundle that this pipeline has just made: it needs no signature yet.

        Raises:
            UsageError: `device` is cuda, and it cannot be used here.
            SignatureError: FACEOPS_TRUSTED_KEYS is set, and none of these keys has signed it as it
                is.
            DamagedBundleError: a file is missing or differs from its sha256, or the contract id
                does not match the rest of release.json.
            FaceOpsError: a file is not an ONNX model, this faceops aligns or preprocesses faces
                in another way, or the release offers no such precision.
        """
        name = name or str(folder)
        if not own:
            require_trusted(folder, name)
        release = _read_supported(folder).of_precision(precision, name)
        content = _verified_files(folder, release)
        chosen, why = choose_device(device, content[contract.LANDMARKS])
        embedder, verifier = folder / release.embedder_file, folder / contract.VERIFIER
        return cls(
            release=release,
            name=name,
            folder=folder,
            threads=threads,
            _embedder=_Session(content[contract.EMBEDDER], embedder, threads, chosen),
            _verifier=_Session(content[contract.VERIFIER], verifier, threads),
            _detector_bytes=content[contract.DETECTOR],
            _landmarks_bytes=content[contract.LANDMARKS],
            note=note if why in note else "; ".join(filter(None, (note, why))),
            device=chosen,
        )

    @property
    def runs_on(self) -> str:
        """The device and the version of ONNX Runtime, as `cpu (ONNX Runtime 1.31.1)`."""
        return f"{self.device} (ONNX Runtime {onnxruntime.__version__})"

    def embed(self, crops: np.ndarray) -> Embedded:
        """Return the embeddings of crops uint8 (N, 112, 112, 3) RGB.

        Raises ValueError: the crops have another shape or type.
        """
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (112, 112, 3):
            raise ValueError(f"crops are {crops.dtype} {crops.shape}, not uint8 (N, 112, 112, 3)")
        size, session = self.release.embedding_size, self._embedder.opened
        return run_embedder(session, crops, size, device=self.device)

    def embed_faces(self, faces: Sequence[Face]) -> tuple[list[Face], np.ndarray]:
        """Return `faces`, at least one, with their quality after embedding, and their embeddings.

        The embeddings are float32 (N, D), L2-normalised.
        """
        embeddings, lengths = self.embed(np.stack([face.crop for face in faces]))
        before = np.array([face.quality.overall for face in faces])
        after = self.release.thresholds.quality_after(before, lengths).tolist()
        measured = [
            replace(face, quality=replace(face.quality, overall=overall))
            for face, overall in zip(faces, after, strict=True)
        ]
        return measured, embeddings

    def verify(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the probability that rows of `a` and `b` (N, D) are one person, float32 (N,)."""
        if a.shape != b.shape or a.ndim != 2:
            raise ValueError(f"a is {a.shape}, b is {b.shape}; both must be (N, D)")
        a, b = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)
        result = np.empty(len(a), np.float32)
        for start in range(0, len(a), VERIFY_BATCH):
            rows = slice(start, start + VERIFY_BATCH)
            result[rows] = self._verifier.opened.run(None, {"a": a[rows], "b": b[rows]})[0]
        return result

    def face_finder(self, detail: int = 0) -> FaceFinder:
        """Return the finder of aligned faces that this release was trained with.

        It turns photos that lie on their side or head. `detail` above 0 also finds small faces in
        large photos, see `FaceFinder`.

        Raises FaceOpsError: it was trained on crops that were not aligned by landmarks.
        """
        if self.release.alignment.mode != "aligned":
            raise FaceOpsError(
                f"{self.name} was trained on crops of mode {self.release.alignment.mode!r} and "
                "cannot name faces in photos; rebuild it with crop.mode aligned."
            )
        return self.finder_of_any_mode(self.threads, detail, turns=True)

    def finder_of_any_mode(
        self, threads: int, detail: int = 0, *, turns: bool = False
    ) -> FaceFinder:
        """Return the finder of aligned faces, also where crops of another mode were trained on."""
        alignment = self.release.alignment
        size, threshold = alignment.detector_size, alignment.detector_threshold
        on = self.device, alignment.version
        detector = Detector(self._detector_bytes, size, threshold, threads, *on)
        refiner = LandmarkRefiner(self._landmarks_bytes, threads, *on)
        return FaceFinder(detector, refiner, detail, turns=turns)


def stored_embeddings(
    file: Path, crops: np.ndarray, rows: np.ndarray, size: int, embed: Embed
) -> Embedded:
    """Return the embeddings (len(rows), `size`) of `rows` of `crops`.

    They are kept in `file`, float32 (N, `size` + 1) with the lengths for all crops, so that an
    interrupted run continues: a row whose embedding is not of length 1 is missing, and computed if
    it is among `rows`.

    `crops`: uint8 (N, 112, 112, 3) RGB, on disk.
    """
    if not len(rows):
        return Embedded.without_lengths(np.zeros((0, size), np.float32))
    with file.open("ab") as opened:
        opened.truncate(4 * (size + 1) * len(crops))  # new rows are zeros in a sparse file
    kept = np.memmap(file, np.dtype("<f4"), "r+", shape=(len(crops), size + 1))
    length = np.linalg.norm(kept[rows, :size], axis=1)
    missing = np.unique(rows[~(np.abs(length - 1) < 1e-3)])
    for start in track(range(0, len(missing), STORE_BATCH), "embedding blocks of faces"):
        block = missing[start : start + STORE_BATCH]
        kept[block] = np.column_stack(embed(np.asarray(crops[block])))
    kept.flush()
    found = np.asarray(kept[rows], np.float32)
    return Embedded(np.ascontiguousarray(found[:, :size]), found[:, size].copy())


def resumable_embeddings(
    embed: Embed, size: int, crops_file: Path, folder: Path, model: str
) -> tuple[Embedded, Path]:
    """Return the embeddings (N, size) of all crops, and the file they are in.

    The file is `folder`/embedded-<key>.f32, see `stored_embeddings`; the key is a hash of
    `model`, which identifies the embedder, and of the bytes of `crops_file`, a crops.npy. Files
    with other keys are removed.
    """
    crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    key = hashlib.sha256(f"{model} {sha256_file(crops_file)}".encode()).hexdigest()[:16]
    file = folder / f"embedded-{key}.f32"
    folder.mkdir(parents=True, exist_ok=True)
    for other in set(folder.glob("embed*-*.f32")) - {file}:
        other.unlink()
    return stored_embeddings(file, crops, np.arange(len(crops)), size, embed), file


def embed_crops_file(bundle: Bundle, crops_file: Path, folder: Path) -> np.ndarray:
    """Return the embeddings float32 (N, D) of a crops.npy; `folder` keeps them for the next run."""
    size, model = bundle.release.embedding_size, bundle.release.contract_id
    embedded, _ = resumable_embeddings(bundle.embed, size, crops_file, folder, model)
    return embedded.embeddings


def check_files(folder: Path) -> contract.Release:
    """Compare the files in `folder`, int8 included, with release.json; return its content.

    Raises FaceOpsError: it is not a bundle, or of another version; DamagedBundleError: a file is
    missing or differs from its sha256, or release.json from its own contract id.
    """
    release = _read_supported(folder)
    _verified_files(folder, release)
    if release.int8 is not None:
        _verified_files(folder, release.of_precision("int8"))
    return release


def _read_supported(folder: Path) -> contract.Release:
    release = contract.read_release(folder)
    alignment = release.alignment
    if (
        not 1 <= alignment.version <= ALIGNMENT_VERSION
        or alignment.template != contract.rounded_template(TEMPLATE.tolist())
        or release.preprocessing.version != contract.PREPROCESSING_VERSION
    ):
        raise FaceOpsError(
            f"{folder} was made for alignment version {alignment.version} and preprocessing "
            f"version {release.preprocessing.version}, this faceops has 1 to {ALIGNMENT_VERSION} "
            f"and {contract.PREPROCESSING_VERSION}; use the faceops that wrote it, or rebuild."
        )
    return release


def _verified_files(folder: Path, release: contract.Release) -> dict[str, bytes]:
    """Return the bytes of all model files, compared with release.json and the contract id."""
    contents = {}
    for file in contract.MODEL_FILES:
        if file not in release.weights:
            raise FaceOpsError(
                f"{folder}/release.json does not list {file}; export the bundle again."
            )
        path = folder / (release.embedder_file if file == contract.EMBEDDER else file)
        try:
            contents[file] = path.read_bytes()
        except OSError as error:
            raise shortage(error) or DamagedBundleError(
                f"{path} cannot be read ({error.strerror}); export the bundle again."
            ) from None
        weight = release.weights[file]
        digest, stated = hashlib.sha256(contents[file]).hexdigest(), weight.sha256
        if file == contract.EMBEDDER and digest == stated and weight.graph_sha256:
            graph = exported_graph(contents[file], release, weight)  # of which the contract id is
            digest, stated = hashlib.sha256(graph).hexdigest(), weight.graph_sha256
        if digest != stated:
            raise DamagedBundleError(
                f"{path} has sha256 {digest[:12]}, release.json says {stated[:12]}; it was "
                "changed: export the bundle again."
            )
    expected = release.expected_contract_id()
    if release.contract_id != expected:
        raise DamagedBundleError(
            f"{folder}/release.json states contract id {release.contract_id[:12]}, its files "
            f"give {expected[:12]}; it was edited: export the bundle again."
        )
    return contents


LEAST_GAIN = 1.3  # from which int8 is worth its loss of accuracy
_CROPS, _TIMES = 4, 3  # embedded at once, and how often
_CPU = Path("/proc/cpuinfo")


def int8_gain(bundle: Path) -> float:
    """Return the CPU time of float32 over that of int8; 0 if the release offers no int8.

    It is measured in half a second and kept in the cache, for the latest processor and version of
    ONNX Runtime.

    Raises FaceOpsError: `bundle` is not a release bundle, or an embedder cannot be run.
    """
    offer = contract.read_release(bundle).int8
    if offer is None:
        return 0.0
    machine = f"{_processor()}, onnxruntime {onnxruntime.__version__}"
    file = cache_folder() / "int8" / f"{offer.contract_id}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = read_json_object(file)
        if known["machine"] == machine:
            return float(known["gain"])
    gain = _measure(bundle)
    with suppress(FaceOpsError):  # a cache that cannot be written: measured again
        write_json(file, {"machine": machine, "gain": round(gain, 3)})
    return gain


def _processor() -> str:
    with suppress(OSError):
        if named := re.search("^model name.*?:(.*)$", _CPU.read_text("utf-8", "replace"), re.M):
            return named[1].strip()
    return platform.processor() or platform.machine()


def _measure(bundle: Path) -> float:
    names = (contract.EMBEDDER, contract.EMBEDDER_INT8)
    sessions = {name: open_session(bundle / name, 1) for name in names}
    crops = np.random.default_rng(0).integers(0, 256, (_CROPS, 112, 112, 3), np.uint8)
    least = dict.fromkeys(names, np.inf)
    for _ in range(_TIMES):  # in turns, so that other load affects both
        for name, session in sessions.items():
            start = time.thread_time()
            session.run(None, {"crops": crops})
            least[name] = min(least[name], time.thread_time() - start)
    return float(least[contract.EMBEDDER] / least[contract.EMBEDDER_INT8])
