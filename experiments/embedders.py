"""SFace, dlib's ResNet, and both joined: pairs of LFW, and the time of an embedding.

    python -m experiments.embedders LFW --work WORK [--table pairs | speed]

LFW holds lfw-deepfunneled/ and the lists. Nothing is fitted and no pipeline run is needed. `pairs`:
the accuracy over the ten folds of pairs.txt (each at the threshold of the other nine), TAR at FAR
over all pairs of the photos in that list and of DevTest's, and the differences to SFace, by one
bootstrap over people. *Mirrored*: averaged with mirrored crops; *centred*: without SFace's mean
embedding. `speed`: CPU time on one thread, the embedders alternating, and the joined embedder in
int8, which DevTrain calibrates; *SFace's file* is the published ONNX file, which takes one face at
a time. Faces and embeddings are kept in WORK.
"""

import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from experiments import parser, run
from faceops.base.figures import roc
from faceops.base.work import track
from faceops.config.sections import Export, Quantise
from faceops.dataset.names import read_people_list
from faceops.embedding.backbones.mobilefacenet import load_sface, sface_centre
from faceops.evaluation.protocols import lfw as protocol
from faceops.evaluation.protocols.all_pairs import PAIR_REPEATS, pair_intervals, scan_pairs
from faceops.faces.align import ALIGNMENT_VERSION
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release import joined_embedder as graphs
from faceops.release.bundle import run_embedder
from faceops.release.embedder_graph import export_embedder
from faceops.release.evaluate.embed_photos import EmbeddedPhotos, embed_photos, labelled_photos
from faceops.release.evaluate.measured_model import MeasuredModel
from faceops.release.export import serialise
from faceops.release.int8_graph import quantise_embedder
from faceops.release.onnx_graph import embedding_size
from faceops.verification.embedded_faces import EmbeddedFaces, evenly_spread
from faceops.verification.error_rates import percentile_interval, resampled_pair_shares
from faceops.verification.normalisation import unit
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier
from faceops.weights import weight_path

SEED, BATCHES, REPEATS, SPEED_CROPS = 7, (1, 4, 16), 9, 32
PUBLISHED = "SFace's file"
# Of each embedder: the network beside dlib, dlib's share, and whether it is centred.
WAYS = {
    "SFace": ("SFace", 0.0, False),
    "SFace, mirrored": ("mirrored", 0.0, False),
    "dlib": ("SFace", 1.0, False),
    "joined .3": ("SFace", 0.3, False),
    "joined .3, centred": ("SFace", 0.3, True),
    "SFace, mirrored, centred": ("mirrored", 0.0, True),
    "joined .3, mirrored, centred": ("mirrored", 0.3, True),
    "joined .5, mirrored, centred": ("mirrored", 0.5, True),
}


def sface() -> onnx.ModelProto:
    """Return SFace as published, in the graph that a build exports: uint8 crops to embeddings."""
    return export_embedder(load_sface(weight_path("sface")), Export().opset)


def single_networks() -> dict[str, onnx.ModelProto]:
    """Return the single networks."""
    content, manifest = (weight_path(name).read_bytes() for name in ("dlib", "dlib_manifest"))
    plain, other = sface(), graphs.dlib_graph(content, manifest, Export().opset)
    return {"SFace": plain, "mirrored": graphs.mirror_embedder(plain), "dlib": other}


def embed_folder(data: Path, work: Path, network: onnx.ModelProto) -> EmbeddedPhotos:
    """Embed the photos person/photo below `data`; faces and embeddings in `work` are reused."""
    content, yunet = serialise(network), weight_path("yunet").read_bytes()
    onet, session = weight_path("onet").read_bytes(), open_session(content, 1)
    size = embedding_size(network)
    model = MeasuredModel(
        name="a network",
        identity=hashlib.sha256(content).hexdigest(),
        finder=FaceFinder(Detector(with_symbolic_size(yunet)), LandmarkRefiner(onet)),
        finder_identity=hashlib.sha256(yunet + onet + bytes([ALIGNMENT_VERSION])).hexdigest(),
        crops=CropSettings(),
        embed=lambda crops: run_embedder(session, crops, size),
        embedding_size=size,
        verifier=distance(size),
    )
    return embed_photos(model, labelled_photos(data), frozenset(), work, threads=2, duplicates=True)


def joined(first: np.ndarray, dlib: np.ndarray, share: float, *, centred: bool) -> np.ndarray:
    """Return the embeddings of one network and dlib's, with its `share`, as float32 (N, D)."""
    if centred:
        first = unit(first - sface_centre())
    shares = zip((1 - share, share), (first, dlib), strict=True)
    return unit(np.concatenate([math.sqrt(part) * rows for part, rows in shares if part], axis=1))


def distance(size: int) -> Verifier:
    """Return the negative squared distance of embeddings of `size` numbers."""
    return Verifier(-np.ones(size, np.float32), 0.0, "distance")


def figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: protocol.PairsList, test: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return accuracy and TARs, float64 (7,), and resamples of them (7, R)."""
    scored = protocol.score_list(faces, verifier, pairs)
    right = protocol.fold_decisions(scored) == scored.same
    values = [float(right.mean())]
    whose = scored.first_person, scored.second_person
    resamples = [resampled_pair_shares(right, *whose, SEED, PAIR_REPEATS)]
    for some in (pairs.listed(faces), faces.of(np.isin(faces.persons, test))):
        scan = scan_pairs(some, verifier, protocol.FARS)
        values += [scan.roc.tar(far) for far in protocol.FARS]
        resamples += list(pair_intervals(scan, protocol.FARS, SEED).resampled.T)
    return np.array(values), np.array(resamples)


def pairs_table(lfw: Path, faces: EmbeddedFaces, embedded: dict[str, np.ndarray]) -> None:
    """Print figures of each embedder, and their differences to SFace."""
    pairs, test = (
        protocol.read_pairs_list(lfw / "pairs.txt"),
        read_people_list(lfw / "peopleDevTest.txt"),
    )
    print("| embedder | View 2 | TAR at FAR 1e-3 / 1e-4 / 1e-5 | DevTest |\n" + "| --- " * 4 + "|")
    found = {}
    for way, (network, share, centred) in WAYS.items():
        embeddings = joined(embedded[network], embedded["dlib"], share, centred=centred)
        verifier = distance(embeddings.shape[1])
        found[way] = figures(replace(faces, embeddings=embeddings), verifier, pairs, test)
        cells = [f"{value:.4f}" for value in found[way][0]]
        print(f"| {way} | {cells[0]} | {' / '.join(cells[1:4])} | {' / '.join(cells[4:])} |")
    print("\n| minus SFace | View 2 | 1e-3 | 1e-4 | 1e-5 | DevTest 1e-3 | 1e-4 | 1e-5 |")
    print("| --- " * 8 + "|")
    values, resamples = found.pop("SFace")
    for way, (own, own_resamples) in found.items():
        cells = [
            "{:+.4f} ({:+.4f} to {:+.4f})".format(gain, *percentile_interval(several))
            for gain, several in zip(own - values, own_resamples - resamples, strict=True)
        ]
        print(f"| {way} | {' | '.join(cells)} |")


def cpu_times(
    sessions: dict[str, onnxruntime.InferenceSession], crops: np.ndarray, batch: int
) -> dict[str, np.ndarray]:
    """Return CPU milliseconds a crop of each session and repeat, float64 (R,), alternating.

    SFace's published file is measured too.
    """
    blocks = np.split(crops, range(batch, len(crops), batch))
    inputs = {name: [{"crops": block} for block in blocks] for name in sessions}
    pixels = crops[:, None].transpose(0, 1, 4, 2, 3).astype(np.float32)
    inputs[PUBLISHED] = [{"data": one} for one in pixels]
    sessions = {PUBLISHED: open_session(weight_path("sface").read_bytes(), 1)} | sessions
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in track(range(REPEATS), f"repeats, batches of {batch}"):
        for name, session in sessions.items():
            start = time.process_time()
            for one in inputs[name]:
                session.run(None, one)
            times[name].append((time.process_time() - start) / len(crops) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def speed_table(lfw: Path, photos: EmbeddedPhotos) -> None:
    """Print CPU time of each embedder, and what the joined one loses in int8."""
    persons, settings, share = photos.faces.persons, Quantise(), Export().dlib_share
    train, test = (
        np.flatnonzero(np.isin(persons, read_people_list(lfw / f"peopleDev{part}.txt")))
        for part in ("Train", "Test")
    )

    def crops(rows: np.ndarray) -> np.ndarray:
        return np.stack([photos.crops[row] for row in rows])

    single, mirrored = sface(), graphs.mirror_embedder(sface())
    float32, not_mirrored = (
        graphs.with_dlib(graphs.centre_embeddings(one, sface_centre()), share)
        for one in (mirrored, single)
    )
    calibration = crops(evenly_spread(train, settings.calibration_crops))
    int8 = quantise_embedder(not_mirrored, calibration, settings.float_layers)
    models = {
        "SFace": single,
        f"joined {share:g}, centred": not_mirrored,
        f"joined {share:g}, mirrored, centred": float32,
        f"joined {share:g}, centred, in int8": int8,
    }
    sessions = {name: open_session(serialise(model), 1) for name, model in models.items()}
    print("\nMilliseconds a face, ratio to SFace's file, ratio to SFace in our graph\n")
    print(f"| embedder | {' | '.join(f'batches of {batch}' for batch in BATCHES)} |")
    print("| --- " * (1 + len(BATCHES)) + "|")
    times = [
        cpu_times(sessions, crops(evenly_spread(test, SPEED_CROPS)), batch) for batch in BATCHES
    ]
    for name in times[0]:
        cells = []
        for one in times:
            ratios = [np.median(one[name] / one[base]) for base in (PUBLISHED, "SFace")]
            cells.append("{:.1f}, {:.2f} x, {:.2f} x".format(np.median(one[name]), *ratios))
        print(f"| {name} | {' | '.join(cells)} |")
    size = embedding_size(float32)
    *_, full, small = sessions.values()
    before, after = (run_embedder(one, crops(test), size).embeddings for one in (full, small))
    cosine = (before * after).sum(axis=1)
    print(f"\nint8: {len(test):,} faces, cosine {cosine.mean():.4f}, lowest {cosine.min():.4f}")
    curves = []
    for rows in (before, after):
        scores = all_pair_scores(rows, persons[test], distance(size), log_odds=True)
        curves.append(roc(scores.genuine, scores.impostor))
    for far in protocol.FARS:
        rates = [curve.tar(far) for curve in curves]
        print(f"TAR at FAR {far:g}: float32 {rates[0]:.4f}, int8 {rates[1]:.4f}")


def main() -> None:
    """Embed, measure, print."""
    options = parser(__doc__)
    options.add_argument("lfw", type=Path, help="folder with lfw-deepfunneled/ and the lists")
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--table", choices=("pairs", "speed"), help="one of the tables [both]")
    args = options.parse_args()
    data = args.lfw / "lfw-deepfunneled"
    networks = {"SFace": sface()} if args.table == "speed" else single_networks()
    found = {name: embed_folder(data, args.work, one) for name, one in networks.items()}
    photos = found["SFace"]
    print(f"{len(photos.faces):,} photos, {len(photos.faces.missing)} without a face")
    if args.table != "speed":
        embedded = {name: one.faces.embeddings for name, one in found.items()}
        pairs_table(args.lfw, photos.faces, embedded)
    if args.table != "pairs":
        speed_table(args.lfw, photos)


if __name__ == "__main__":
    run(main)
