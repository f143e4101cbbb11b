"""What does a review of one album buy for another album?

    python -m experiments.review_learning --lfw DIR --families DIR --work WORK [--sizes N ...]
        [--table gallery]

The people of LFW are split in half; at most eight photos of each, and half of those with one photo.
In album A everybody with two photos or more is enrolled from one of them, `identify` names its
faces, and a simulated reviewer decides about some of them, drawn at random: confirms the right
person, after refusing one that was suggested wrongly, or ignores a stranger. Two decisions in a
hundred are mistakes; half of these are undone. They go through the journal and
`data import reviewed`. Then the model is rebuilt as experiments/reviewed.yaml does it, and compared
with the champion on album B, whose people nobody reviewed, as the gate does (one photo enrolled).

The champion is SFace calibrated on families: it has seen nobody of LFW. `recalibrated` has the same
weights; the reviewed people and strangers are beside families. `fine-tuned` has the weights of the
last epoch, whether or not validation would keep them; `pairs together` draws people who were taken
for each other into one batch. DIR is at a true FPIR of 1 %, which the embedder decides, and at the
release's own threshold for a budget of 1 %, beside the FPIR that it gives. The larger gallery is
measured on photos of album A that nobody reviewed. WORK keeps faces, embeddings and features.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from experiments import parser, run
from faceops.config.params_file import experiment_file, read_params
from faceops.config.sections import Gate, Params, Split
from faceops.dataset.names import name_key
from faceops.dataset.reviewed import (
    HARD_NEGATIVES_FILE,
    REVIEWED_FILE,
    read_hard_negatives,
    read_reviewed,
    reviewed_splits,
)
from faceops.dataset.splits import split_randomly
from faceops.embedding.embedder import Embedder, choose_device
from faceops.embedding.training import inputs
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.training_loop import Row, Trainer, TrainingLog, start_model
from faceops.evaluation.protocols.identification import GalleryDraw
from faceops.gallery.decisions import Decisions
from faceops.gallery.enrol import enrol
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.gallery.store import Gallery
from faceops.gate.compare import Comparison
from faceops.gate.photos import FrozenPhotos, freeze
from faceops.gate.trials import FaceTable, ModelFigures, resampled_weights, search
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.registry.published.assemble import load_published
from faceops.release.bundle import Bundle, Embedded
from faceops.release.evaluate.embed_photos import (
    EmbeddedPhotos,
    LabelledPhoto,
    embed_photos,
    labelled_photos,
)
from faceops.release.evaluate.measured_model import MeasuredModel, PeopleSeen
from faceops.review.training_data import import_reviewed
from faceops.verification.bootstrap import percentile_interval
from faceops.verification.fit import fit_verifier
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import codes
from faceops.weights.fetch import weight_path

MISTAKES, UNDONE = 0.02, 0.5
SEED, THREADS, FPIR = 7, 2, 0.01
HEADER = ("DIR at FPIR 1 %", "gain", "DIR, own threshold", "gain", "FPIR, own threshold")
MOST_PHOTOS = {"lfw": 8, "families": 4}  # of a person
GATE = Gate(gallery_photos=1, fpir=FPIR, seed=SEED)


def halves(lfw: Path, work: Path) -> None:
    """Link the people of LFW into `work`/a and `work`/b, and the enrolled photos of a."""
    for name in ("a", "b", "enrolled"):
        shutil.rmtree(work / name, ignore_errors=True)
    for person in sorted(path for path in lfw.iterdir() if path.is_dir()):
        digest = sha256(person.name.encode()).digest()
        half, photos = "ab"[digest[0] & 1], sorted(person.glob("*.jpg"))[: MOST_PHOTOS["lfw"]]
        if len(photos) == 1 and digest[1] & 1:
            continue
        several = half == "a" and len(photos) > 1
        places = [("enrolled" if several and not n else half, one) for n, one in enumerate(photos)]
        for folder, photo in places:
            (work / folder / person.name).mkdir(parents=True, exist_ok=True)
            (work / folder / person.name / photo.name).symlink_to(photo.resolve())


@dataclass(frozen=True)
class SeenFace:
    """The most central face of a photo of album A, as `identify` recorded it."""

    photo_id: str
    path: Path
    truth: str
    box: tuple[float, float, float, float]
    person: str  # as it was named, or who was likeliest below the threshold; "" for nobody


def seen_faces(out: Path) -> list[SeenFace]:
    """Return a face for each photo of the records in `out`, by path."""
    best: dict[str, tuple[float, SeenFace]] = {}
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["face_index"] and row["decision"] != "rejected":
                x, y, width, height = (float(row[k]) for k in ("x", "y", "width", "height"))
                off = abs(x + width / 2 - 125) + abs(y + height / 2 - 125)
                path = Path(row["photo_path"])
                box = x, y, width, height
                face = SeenFace(row["photo_id"], path, path.parent.name, box, row["person"])
                if off < best.get(row["photo_path"], (1e9, None))[0]:
                    best[row["photo_path"]] = off, face
    return [face for _, face in sorted(best.values(), key=lambda one: one[1].path)]


class Reviewer:
    """Decides about faces from ground truth, through the journal of `gallery`."""

    def __init__(self, gallery: Path, enrolled: Iterable[str]) -> None:
        self.journal, self.decisions = Journal(gallery), Decisions.load(gallery)
        self.people = {name_key(person): person for person in enrolled}
        self.draw = np.random.default_rng(SEED)

    def review(self, faces: Sequence[SeenFace]) -> None:
        """Decide about each of `faces`."""
        names = sorted(self.people.values())
        for face in faces:
            right = self.people.get(name_key(face.truth), "")
            if self.draw.random() < MISTAKES:
                wrong = names[self.draw.integers(len(names))]
                (entry,) = self._add(self._decide(face, wrong if wrong != right else ""))[-1:]
                if self.draw.random() >= UNDONE:
                    continue
                self._add([Entry(Action.UNDO, detail=entry.id)])
            self._add(self._decide(face, right))

    def _decide(self, face: SeenFace, person: str) -> list[Entry]:
        place = face.photo_id, face.box, (250, 250)
        entries: list[Entry] = []
        suggested = self.people.get(name_key(face.person), "") if face.person else ""
        if suggested and suggested != person:
            other, naming = self.decisions.naming(suggested)
            entries += [*naming, Entry(Action.REFUSE, *place, other)]
        if not person:
            return [*entries, Entry(Action.IGNORE, *place, detail=Ignored.STRANGER)]
        whose, naming = self.decisions.naming(person)
        return [*entries, *naming, Entry(Action.CONFIRM, *place, whose)]

    def _add(self, entries: list[Entry]) -> list[Entry]:
        added = self.journal.append(entries)
        self.decisions.add(added)
        return added


@dataclass(frozen=True)
class Faces:
    """Labelled faces of one source, each with its embedding by SFace and its trunk's features."""

    source: str
    photos: EmbeddedPhotos
    features: np.ndarray
    splits: dict[str, str] = field(default_factory=dict)

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of the people of a split."""
        whose = [self.splits.get(person) for person in self.photos.faces.persons.tolist()]
        return np.array([row for row, one in enumerate(whose) if one == split], np.int64)


def persons_of(parts: Sequence[Faces], split: str) -> np.ndarray:
    """Return the person of each face of a split, text (N,), the source in front."""
    return np.concatenate(
        [np.char.add(f"{p.source}/", p.photos.faces.persons[p.rows(split)]) for p in parts]
    )


def calibrated(
    model: MeasuredModel, name: str, parts: Sequence[Faces], own: Sequence[np.ndarray], p: Params
) -> MeasuredModel:
    """Return `model` with a verifier and thresholds fitted to embeddings `own` of `parts`."""

    def split(which: str) -> np.ndarray:
        return np.concatenate([e[x.rows(which)] for x, e in zip(parts, own, strict=True)])

    persons = persons_of(parts, "val")
    fit = fit_verifier(split("train"), persons_of(parts, "train"), split("val"), persons, p.verify)
    sets = np.array([person.partition("/")[0] for person in persons.tolist()])
    thresholds = measure_thresholds(
        split("val"), persons, fit.verifier, fit.scores, p.verify, name, sets
    )
    return replace(model, name=name, verifier=fit.verifier, thresholds=thresholds)


class LastEpoch(TrainingLog):
    """Keeps the head's weights of the last epoch."""

    def __init__(self, model: Embedder) -> None:
        self.model, self.weights = model, model.head.state_dict()

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Copy the weights."""
        del row, images_per_second
        self.weights = {k: v.detach().clone() for k, v in self.model.head.state_dict().items()}


@torch.inference_mode()
def embed_features(model: Embedder, features: np.ndarray) -> np.ndarray:
    """Return embeddings float32 (N, D) of features of the frozen trunk, float16 (N, 1, ...)."""
    model.eval()
    parts = [
        model.embed_features(torch.from_numpy(features[at : at + 64, 0].astype(np.float32)))
        for at in range(0, len(features), 64)
    ]
    return torch.cat(parts).numpy()


class Laboratory:
    """What the arms share: how faces are found and embedded, the base set, the champion."""

    def __init__(self, families: Path, work: Path, bundle: Bundle, params: Params) -> None:
        self.work, self.params = work, params
        # Crops alone: the embeddings come from the features, which training needs anyway.
        self.plain = replace(
            MeasuredModel.from_bundle(bundle), identity="0" * 64, embedding_size=1,
            embed=lambda crops: Embedded.without_lengths(np.zeros((len(crops), 1), np.float32)),
        )  # fmt: skip
        self.sface = start_model(params.train, weight_path("sface"))
        self.device = choose_device("cpu")
        listed: list[LabelledPhoto] = []
        for photo in labelled_photos(families):
            same = [one.person for one in listed[-MOST_PHOTOS["families"] :]]
            if same.count(photo.person) < MOST_PHOTOS["families"]:
                listed.append(photo)
        base = self.read("families", listed)
        counts = Counter(base.photos.faces.persons.tolist())
        defaults = Split()
        splits = split_randomly(counts, defaults.val, defaults.test, defaults.seed)
        self.base = replace(base, splits=splits)
        own = [base.photos.faces.embeddings]
        self.champion = calibrated(self.plain, "champion", [self.base], own, params)

    def read(self, source: str, listed: Sequence[LabelledPhoto]) -> Faces:
        """Find and embed the faces of labelled photos."""
        photos = embed_photos(
            self.plain, listed, frozenset(), self.work / "faces", threads=THREADS, duplicates=True
        )
        nobody = np.zeros(len(photos.faces), np.int64)
        data = FaceDataset(photos.crops.table, photos.crops.rows, nobody, nobody.astype(bool))
        folder = self.work / "features"
        features = inputs.cached_features(self.sface, data, False, folder, source, self.device)
        embedded = replace(photos.faces, embeddings=embed_features(self.sface, features))
        return Faces(source, replace(photos, faces=embedded), features)

    def table(self, source: str, frozen: FrozenPhotos) -> tuple[FaceTable, np.ndarray]:
        """Return the champion's faces of `frozen`, and their features."""
        faces = self.read(source, frozen.photos)
        found = np.array([not photo.reason for photo in faces.photos.photos])
        rows = np.where(found, np.cumsum(found) - 1, -1)
        return FaceTable(self.champion, faces.photos, rows), faces.features

    def fine_tune(self, reviewed: Faces, pairs: Iterable[tuple[str, str]]) -> tuple[Embedder, int]:
        """Return SFace after its last epoch on base and reviewed people, and the best epoch."""
        parts, data = (self.base, reviewed), {}
        features: dict[inputs.Split, np.ndarray] = {}
        splits: tuple[inputs.Split, ...] = ("train", "val")
        for split in splits:
            persons = persons_of(parts, split).tolist()
            counts = Counter(persons)
            alone = np.array([counts[person] == 1 for person in persons])
            several = {name_key(one.partition("/")[2]): one for one in counts if counts[one] > 1}
            there = [(several.get(name_key(a)), several.get(name_key(b))) for a, b in pairs]
            confused = [(a, b) for a, b in there if a and b and split == "train"]
            features[split] = np.concatenate([part.features[part.rows(split)] for part in parts])
            rows = np.arange(len(persons))
            data[split] = FaceDataset.of(features[split], rows, persons, alone, confused)
        model = start_model(self.params.train, weight_path("sface"))
        given = inputs.FeatureInputs(data["train"], data["val"], self.device, features)
        folder, log = self.work / "checkpoints", LastEpoch(model)
        shutil.rmtree(folder, ignore_errors=True)
        result = Trainer(model, given, self.params.train, folder, log=log).fit()
        model.head.load_state_dict(log.weights)
        return model, result.best_epoch


def figures_of(before: ModelFigures, after: ModelFigures, weights: np.ndarray) -> list[str]:
    """Return the cells of a row: figures, and paired gains; `weights` are those of resamples."""
    cells = []
    once = np.ones(weights.shape[1], np.float32)
    own = ModelFigures.correctly_identified_share
    for figure in (lambda one, weight: one.dir(weight, FPIR), own):
        gains = [figure(after, weight) - figure(before, weight) for weight in weights]
        low, high = percentile_interval(np.array(gains), 0.95)
        gain = figure(after, once) - figure(before, once)
        shown = "" if before is after else f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"
        cells += [f"{figure(after, once):.4f}", shown]
    return [*cells, f"{after.strangers_named(once):.4f}"]


def compared(champion: FaceTable, challenger: FaceTable, frozen: FrozenPhotos) -> list[str]:
    """Return the cells of a row on album B, by the gate's galleries."""
    seen, tables = PeopleSeen({}, ""), [champion, challenger]
    models = (champion.model, challenger.model)
    comparison = Comparison(models, frozen, GATE, (seen, seen), Path(), THREADS, tables)
    before, after = comparison.figures
    return figures_of(before, before if champion is challenger else after, comparison.weights)


def main() -> None:
    """Review, rebuild, compare; print two tables."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    options.add_argument("--families", type=Path, required=True)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--sizes", type=int, nargs="+", default=[250, 750, 2000], metavar="N")
    options.add_argument("--table", choices=("all", "gallery"), default="all")
    args = options.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    params = read_params(experiment_file(Path.cwd(), "reviewed"))
    bundle = load_published()
    halves(args.lfw, work)
    gallery, out = work / "gallery", work / "found"
    shutil.rmtree(gallery, ignore_errors=True)
    enrol(work / "enrolled", gallery, bundle)
    opened = Gallery.open(gallery)
    identify(work / "a", opened, bundle, out, IdentifySettings(threads=THREADS))
    faces = seen_faces(out)
    order = np.random.default_rng(SEED).permutation(len(faces))
    lab = Laboratory(args.families.resolve(), work, bundle, params)
    frozen = freeze(work / "b", ())
    table, features_b = lab.table("b", frozen)
    reviewer, done, imports = Reviewer(gallery, opened.people), 0, []
    for size in args.sizes:
        reviewer.review([faces[at] for at in order[done:size]])
        done, data = size, work / f"data_{size}"
        shutil.rmtree(data, ignore_errors=True)
        imports.append((size, data, import_reviewed(gallery, data, bundle, THREADS)))
    larger_gallery(args.sizes, [faces[at] for at in order], reviewer, lab)
    if args.table == "gallery":
        return
    print_header("review", "release", *HEADER)
    print_row("none", "champion", *compared(table, table, frozen))
    notes = []
    for size, data, counts in imports:
        reviewed = lab.read(f"reviewed_{size}", labelled_photos(data))
        people = np.unique(reviewed.photos.faces.persons).tolist()
        splits = reviewed_splits(people, read_reviewed(data / REVIEWED_FILE))
        reviewed = replace(reviewed, source="reviewed", splits=splits)
        parts = [lab.base, reviewed]
        own = [part.photos.faces.embeddings for part in parts]
        again = calibrated(lab.plain, "recalibrated", parts, own, params)
        print_row(size, again.name, *compared(table, replace(table, model=again), frozen))
        arms, kept = {"fine-tuned": list[tuple[str, str]]()}, []
        if size == max(args.sizes):
            arms["fine-tuned, pairs together"] = read_hard_negatives(data / HARD_NEGATIVES_FILE)
        for name, pairs in arms.items():
            model, best = lab.fine_tune(reviewed, pairs)
            kept.append(f"{name}: {f'epoch {best}' if best else 'the start'}")
            own = [embed_features(model, part.features) for part in parts]
            trained = calibrated(lab.plain, name, parts, own, params)
            new = replace(table.faces, embeddings=embed_features(model, features_b))
            other = replace(table, model=trained, embedded=replace(table.embedded, faces=new))
            print_row(size, name, *compared(table, other, frozen))
        notes.append(
            f"{size} faces reviewed: {counts.photos} confirmed of {counts.people} people, "
            f"{counts.strangers} strangers, {counts.hard_negatives} pairs; left out "
            f"{dict(+counts.left_out)}; validation keeps of {'; '.join(kept)}"
        )
    print("\n" + "\n".join(notes))
    print(f"album B: {len(frozen.photos)} photos of {frozen.people} people", flush=True)


def print_header(*cells: str) -> None:
    """Print the head of a Markdown table."""
    print(f"\n| {' | '.join(cells)} |\n|{' --- |' * len(cells)}", flush=True)


def print_row(*cells: object) -> None:
    """Print a row of it."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def larger_gallery(
    sizes: Sequence[int], faces: Sequence[SeenFace], reviewer: Reviewer, lab: Laboratory
) -> None:
    """Print what confirmed faces buy in the gallery, on photos of A that nobody reviewed.

    `faces` are those of album A in the order of their review.
    """
    both = [freeze(lab.work / name, ()) for name in ("a", "enrolled")]
    joined = replace(both[0], photos=both[0].photos + both[1].photos)
    table, _ = lab.table("a", joined)
    row_of = {photo.file.name: row for row, photo in enumerate(joined.photos)}
    usable = table.rows >= 0
    person = codes(np.array([photo.person for photo in joined.photos]))
    enrolled = np.array(
        [
            row
            for row in range(len(both[0].photos), len(joined.photos))
            if name_key(joined.photos[row].person) in reviewer.people
        ]
    )
    rest = [row for face in faces[max(sizes) :] if (row := row_of.get(face.path.name)) is not None]
    probes = np.sort(np.array(rest, np.int64))
    first: ModelFigures | None = None
    print_header("gallery", "faces", *HEADER)
    for size in (0, *sizes):
        # A mistake of the reviewer puts a face under another name: it keeps its own here, as the
        # gallery's policy refuses faces that are unlike the person's others.
        confirmed = [
            row_of[face.path.name]
            for face in faces[:size]
            if face.path.name in row_of
            for place in reviewer.decisions.places(face.photo_id)
            if name_key(reviewer.decisions.name(place.person)) == name_key(face.truth)
        ]
        gallery = np.union1d(enrolled, np.array(confirmed, np.int64))
        gallery = gallery[usable[gallery]]
        draw = GalleryDraw(gallery, probes, np.isin(person[probes], person[gallery]))
        figures = ModelFigures(search(table, [draw], person), person[probes], draw.known)
        first = first or figures
        whose, people = person[probes], int(person.max()) + 1
        weights = resampled_weights(whose, draw.known, people, GATE.resamples, SEED)
        cells = figures_of(first, figures, weights)
        print_row(f"one photo each, and what {size} decisions confirmed", len(gallery), *cells)
    known = int(draw.known.sum())
    print(f"\nprobes: {known} photos of enrolled people, {len(probes) - known} of others")


if __name__ == "__main__":
    run(main)
