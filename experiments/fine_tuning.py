"""What fine-tuning gains: the network that `train` made against its start, on the same photos.

    faceops params use robust && dvc repro train
    python -m experiments.fine_tuning --work WORK

The photos are those of the build's test people. TAR of all their pairs as they are, and at equal
FAR 1e-3 of altered photos (at most four of a person) against the others as they are, as `faceops
evaluate --protocol robustness` has it. *Alone*: the network; *exported*: with mirrored crops,
centred and joined with dlib's ResNet, as `export` makes it. Differences are the trained network's
minus its start's, by one bootstrap over people. Crops and embeddings are kept in WORK.
"""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from experiments import parser, run
from experiments.embedders import distance, joined
from faceops.base.files import atomic_path, sha256_file
from faceops.base.work import ordered_map, track, usable_cpus
from faceops.config.params_file import read_params
from faceops.config.sections import Params
from faceops.embedding.backbones.build import load_model, start_model
from faceops.embedding.backbones.mobilefacenet import sface_centre
from faceops.evaluation.protocols import robustness
from faceops.evaluation.protocols.all_pairs import pair_intervals, scan_pairs
from faceops.faces.crop_photos import CropSettings
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.inference_session import open_session
from faceops.faces.landmarks import LandmarkRefiner
from faceops.release import joined_embedder as graphs
from faceops.release.bundle import resumable_embeddings, run_embedder
from faceops.release.embedder_graph import export_embedder
from faceops.release.export import serialise
from faceops.release.onnx_graph import embedding_size
from faceops.stages import CROPS, FACES, MODEL
from faceops.stages.embed import mean_embedding
from faceops.verification.embedded_faces import EmbeddedFaces, SplitFaces, read_split
from faceops.verification.error_rates import percentile_interval, resampled_people
from faceops.verification.normalisation import unit
from faceops.verification.pairs import codes
from faceops.weights import weight_path

SEED = 7
FARS = (1e-3, 1e-4)
ALTERED = ("bright", "sunglasses", "mask", "dark", "blur", "face_32_px")


def prepare_crops(test: SplitFaces, chosen: np.ndarray, work: Path) -> tuple[Path, np.ndarray]:
    """Return a crops.npy and bool (A, R): the altered photos in which the face was found again.

    The crops are those of `test` as they are, then of the R rows `chosen` under each alteration.
    """
    of = sha256_file(FACES), sha256_file(CROPS), ALTERED, SEED
    key = hashlib.sha256(repr(of).encode()).hexdigest()[:16]
    crops_file, found_file = work / f"crops-{key}.npy", work / f"found-{key}.npy"
    if not found_file.exists():
        yunet = with_symbolic_size(weight_path("yunet").read_bytes())
        finder = FaceFinder(Detector(yunet), LandmarkRefiner(weight_path("onet").read_bytes()))
        how = tuple(robustness.ALTERATIONS[name] for name in ALTERED)
        alter = partial(
            robustness.alter_photo, finder=finder, settings=CropSettings(), alterations=how
        )
        paths = [Path("data") / path for path in test.paths[chosen]]
        crops = np.zeros((len(ALTERED), len(paths), 112, 112, 3), np.uint8)
        found = np.zeros(crops.shape[:2], bool)
        done = ordered_map(alter, paths, usable_cpus())
        for photo, altered in enumerate(track(done, "photos altered", len(paths))):
            for kind, crop in enumerate(altered):
                if crop is not None:
                    crops[kind, photo], found[kind, photo] = crop, True
        plain = np.load(CROPS, mmap_mode="r")[test.rows]
        for path, array in ((crops_file, np.concatenate([plain, *crops])), (found_file, found)):
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, array)
    return crops_file, np.load(found_file)


def embed(network: onnx.ModelProto, crops: Path, folder: Path) -> np.ndarray:
    """Return embeddings float32 (N, D) of a crops.npy; `folder` keeps them."""
    content, size = serialise(network), embedding_size(network)
    session, workers = open_session(content, 1), usable_cpus()
    embedding = partial(run_embedder, session, embedding_size=size, workers=workers)
    key = hashlib.sha256(content).hexdigest()
    return resumable_embeddings(embedding, size, crops, folder, key)[0].embeddings


def embed_variants(params: Params, crops: Path, work: Path) -> dict[str, list[np.ndarray]]:
    """Return the embeddings of the start and of the trained network, alone and exported."""
    opset, share = params.export.opset, params.export.dlib_share
    weights, manifest = (weight_path(name).read_bytes() for name in ("dlib", "dlib_manifest"))
    other = embed(graphs.dlib_graph(weights, manifest, opset), crops, work / "dlib")
    found: dict[str, list[np.ndarray]] = {"alone": [], "exported": []}
    everybody = np.load(CROPS, mmap_mode="r")
    models = {
        "start": start_model(params.train, weight_path("sface")),
        "trained": load_model(MODEL),
    }
    for name, model in models.items():
        network = export_embedder(model, opset)
        found["alone"].append(embed(network, crops, work / name))
        network = graphs.mirror_embedder(network)
        published = name == "start" and not params.train.start
        centre = sface_centre() if published else mean_embedding(network, everybody)
        own = unit(embed(network, crops, work / f"{name}-mirrored") - centre)
        found["exported"].append(joined(own, other, share, centred=False))
    return found


def figures(
    embeddings: np.ndarray, test: SplitFaces, chosen: np.ndarray, found: np.ndarray
) -> dict[str, np.ndarray]:
    """Return a TAR by name, float64 (1 + R,): of all people, then of R resamples of them."""
    verifier = distance(embeddings.shape[1])
    plain = embeddings[: len(test.rows)]
    altered = embeddings[len(test.rows) :].reshape(len(ALTERED), len(chosen), -1)
    scan = scan_pairs(EmbeddedFaces(plain, test.persons, test.paths), verifier, FARS)
    resampled = pair_intervals(scan, FARS, SEED).resampled
    result = {
        f"unaltered, FAR {far:g}": np.array([scan.roc.tar(far), *column])
        for far, column in zip(FARS, resampled.T, strict=True)
    }
    person = codes(test.persons[chosen])
    people = int(person.max()) + 1
    weights = [np.ones(people), *resampled_people(people, SEED)]
    for name, vectors, seen in zip(ALTERED, altered, found, strict=True):
        pairs = robustness.AlteredPairs(vectors, seen, plain[chosen], person, verifier)
        equal = pairs.at_equal_far()
        result[name] = np.array([equal.rate(w) for w in weights])
    return result


def main() -> None:
    """Alter, embed, measure, print."""
    options = parser(__doc__)
    options.add_argument("--work", type=Path, required=True)
    work = options.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    test = read_split(FACES, "test")
    chosen = robustness.choose_rows(test.persons, len(test.rows), SEED)
    crops, found = prepare_crops(test, chosen, work)
    people = len(set(test.persons[chosen].tolist()))
    print(f"{len(test.rows):,} photos; altered: {len(chosen):,} of {people:,} people\n")
    print("| TAR | alone: start, trained, difference | exported |\n| --- | --- | --- |")
    cells: dict[str, list[str]] = {}
    for embedded in embed_variants(read_params(Path("params.yaml")), crops, work).values():
        before, after = (figures(one, test, chosen, found) for one in embedded)
        for name, rates in before.items():
            gain = after[name] - rates
            low, high = percentile_interval(gain[1:])
            cells.setdefault(name, []).append(
                f"{rates[0]:.4f}, {after[name][0]:.4f}, {gain[0]:+.4f} ({low:+.4f} to {high:+.4f})"
            )
    for name, row in cells.items():
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    run(main)
