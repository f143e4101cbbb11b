"""The evaluation report as one HTML page, and the sections it shares with the model card.

The worst mistakes are the most similar impostor pairs and the least similar genuine pairs. Wrong
labels come first in both lists, so they are the first thing to check.
"""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from faceops.base.files import write_csv
from faceops.evaluation.protocols.all_pairs import PairScan
from faceops.evaluation.report import document as doc
from faceops.evaluation.report import identification_sections as identification
from faceops.evaluation.report import verification_sections as verification
from faceops.faces import contact_sheets as sheets
from faceops.verification.album import FEWEST_PEOPLE
from faceops.verification.embedded_faces import CropRows, EmbeddedFaces
from faceops.verification.pairs import genuine_pairs, score_pairs
from faceops.verification.verifier import Verifier, sigmoid

_COMMIT = "recorded in release.json when the bundle is assembled"


def _use(facts: doc.Facts) -> Iterator[doc.Part]:
    yield from map(doc.Text, facts.about.use)


def _seen(facts: doc.Facts) -> Iterator[doc.Part]:
    data = facts.figures.get("data")
    new = (
        "The people in the figures below were in neither training nor validation of this pipeline. "
        "A pretrained weight may have seen them."
        if data is None
        else f"{data['seen']['told'].rstrip('.')}."
    )
    yield doc.Bullets([*facts.about.seen, new])


def _licences(facts: doc.Facts) -> Iterator[doc.Part]:
    note = (
        "None of these licences covers the rights in the photos that a weight was trained on, or "
        "replaces the consent of the people who are enrolled."
    )
    yield doc.Bullets([*facts.about.licences, note])


def _lineage(facts: doc.Facts) -> Iterator[doc.Part]:
    rows = [[name, value or _COMMIT] for name, value in facts.about.lineage]
    data = facts.figures.get("data")
    if data:
        left_out = ", ".join(f"{n:,} {why}" for why, n in data["without_face"].items())
        rows += [
            ["Evaluated on", f"{data['folder']}: {data['photos']:,} photos of "
             f"{data['people']:,} people, {data['faces']:,} faces"],
            ["Photos without a face", left_out or "none"],
            ["Overlap with its training data", data["seen"]["told"]],
        ]  # fmt: skip
    yield doc.Table(["item", "value"], rows)


TWO_PEOPLE, ONE_PERSON = "two people", "one person"


@dataclass(frozen=True)
class MistakenPair:
    """Two photos and their score; crops uint8 (112, 112, 3)."""

    kind: str  # TWO_PEOPLE or ONE_PERSON, by the labels
    log_odds: float  # the negative squared distance without calibration
    similarity: str  # the same in words
    persons: tuple[str, str]
    paths: tuple[str, str]
    crops: tuple[np.ndarray | None, np.ndarray | None]


def worst_mistakes(
    faces: EmbeddedFaces, crops: np.ndarray | CropRows | None, verifier: Verifier,
    scan: PairScan, *, calibrated: bool, most: int = 25,
) -> list[MistakenPair]:  # fmt: skip
    """Return up to `most` pairs of each kind, those of two people first, the worst first.

    A photo is in one pair of a list, its worst: else one wrong label would fill the list. Pairs of
    two people are among the highest that `scan` of `faces` has kept.
    """
    highest = np.stack([scan.top.first, scan.top.second], axis=1).astype(np.int64)
    genuine = genuine_pairs(faces.persons)
    scores = score_pairs(faces.embeddings, genuine, verifier, log_odds=True)
    rising = np.argsort(scores, kind="stable")
    found = []
    for kind, pairs, log_odds in (
        (TWO_PEOPLE, highest, scan.top.score),
        (ONE_PERSON, genuine[rising], scores[rising]),
    ):
        for row in _photos_once(pairs, most):
            a, b = pairs[row]
            score = float(log_odds[row])
            similarity = f"distance {-score:.3f}"
            if calibrated:
                similarity = f"p {doc.shown_probability(float(sigmoid(log_odds[row])))}"
            persons = (str(faces.persons[a]), str(faces.persons[b]))
            paths = (str(faces.paths[a]), str(faces.paths[b]))
            photos = (None, None) if crops is None else (crops[a], crops[b])
            found.append(MistakenPair(kind, score, similarity, persons, paths, photos))
    return found


def _photos_once(pairs: np.ndarray, most: int) -> Iterator[int]:
    """Yield the rows of the first `most` pairs that share no photo with one before them."""
    seen: set[int] = set()
    for row, pair in enumerate(pairs.tolist()):
        if len(seen) == 2 * most:
            return
        if seen.isdisjoint(pair):
            seen.update(pair)
            yield row


def write_mistakes_table(pairs: list[MistakenPair], path: Path) -> None:
    """Write a CSV of all pairs; of a calibrated model the scores are log odds."""
    header = ("labels", "score", "person", "path", "other_person", "other_path")
    rows = (
        (p.kind, f"{p.log_odds:.6g}", p.persons[0], p.paths[0], p.persons[1], p.paths[1])
        for p in pairs
    )
    write_csv(path, header, rows, errors="backslashreplace")


def write_mistake_sheets(pairs: list[MistakenPair], folder: Path) -> None:
    """Write mistakes_two_people.png and mistakes_one_person.png to `folder`."""
    for kind, name, title, note in (
        (TWO_PEOPLE, "two_people", "Two people, by their labels, with the most similar photos",
         "Left and right make a pair. Wrongly accepted at any lower threshold."),
        (ONE_PERSON, "one_person", "One person, by the labels, with the least similar photos",
         "Left and right make a pair. Wrongly refused at any higher threshold."),
    ):  # fmt: skip
        tiles = [tile for pair in pairs if pair.kind == kind for tile in _pair_tiles(pair)]
        section = sheets.ThumbnailSection(f"{title}: {len(tiles) // 2} pairs", tiles, note)
        sheets.write_sheet(sheets.draw_sections([section]), folder / f"mistakes_{name}.png")


def _pair_tiles(pair: MistakenPair) -> Iterator[sheets.Thumbnail]:
    colour = sheets.BAD if pair.kind == TWO_PEOPLE else sheets.GOOD
    for side, caption in enumerate((f"   {pair.similarity}", "")):
        crop = pair.crops[side]
        picture = None if crop is None else Image.fromarray(np.asarray(crop))
        number = PurePosixPath(pair.paths[side]).stem.rpartition("_")[2]
        yield sheets.Thumbnail(picture, pair.persons[side], f"{number}{caption}", colour)


def _mistakes(facts: doc.Facts) -> Iterator[doc.Part]:
    if not facts.pictured:
        yield doc.Text("No pictures: only the protocol all compares all pairs.", "absent")
        return
    yield doc.Text(
        "Genuine and impostor are as labelled: wrong labels appear here first and are not the "
        "model's mistakes. A photo is shown in its worst pair only. "
        + (
            "p is the stated probability of one person; 1-2e-07 is 1 minus 0.0000002. "
            if facts.thresholds
            else "Each pair is shown with the squared distance of its embeddings. "
        )
        + "mistakes.csv holds the same list."
    )
    yield doc.Pairs(TWO_PEOPLE, "Impostor pairs with the highest scores")
    yield doc.Pairs(ONE_PERSON, "Genuine pairs with the lowest scores")


def _map(facts: doc.Facts) -> Iterator[doc.Part]:
    if facts.pictured:
        yield doc.Text(
            "Photos of some people, placed by t-SNE: neighbours are similar to the model, "
            "distances have no meaning. The frame's colour marks the person; colours repeat."
        )
        alt = "Faces of some people, similar ones close"
        yield doc.Picture("similarity_map.png", alt, wide=True)


def _training(facts: doc.Facts) -> Iterator[doc.Part]:
    if not facts.history:
        yield doc.Text("No training history is available.", "absent")
    elif len(facts.history) < 2:
        why = "No epoch of training: the pretrained weights are used as they are."
        yield doc.Text(why, "absent")
    else:
        columns = ("epoch", "phase", "loss", "val_tar")
        rows = [[row[name] or "-" for name in columns] for row in facts.history]
        yield doc.Picture("loss.png", "Loss and validation score by epoch")
        header = ["epoch", "phase", "loss", "TAR at FAR 1e-3, validation people"]
        yield doc.Table(header, rows)


_OF_STRANGERS = (
    "Thresholds hold for strangers similar to the people they were measured on. Siblings, twins, "
    "children and people of groups that are rare in these photos are confused more often"
)
_OF_ALBUMS = (
    "The threshold of an album holds for its strangers on average; relatives of enrolled people "
    f"get names more often. An album of fewer than {FEWEST_PEOPLE} people gets the threshold of a "
    "calibration set, which holds for strangers similar to those of that set"
)


def _limits(facts: doc.Facts) -> Iterator[doc.Part]:
    """Yield the limits that follow from the number and kind of people measured."""
    people = facts.figures["people"]
    few = "few" if people < 200 else "a limited sample"
    groups = (
        "see the tables of groups"
        if facts.figures.get("slices")
        else "no figures by group were measured"
    )
    adapts = facts.thresholds is not None and facts.thresholds.normalisation is not None
    items = [
        f"{_OF_ALBUMS if adapts else _OF_STRANGERS}; {groups}.",
        f"{people:,} test people are {few}: rely on the intervals, not on single values.",
        "Extrapolated thresholds assume the shape of the scores' tail; measure on more people "
        "before relying on them in a large gallery.",
        "Small, blurred, covered or strongly turned faces, old photos and pictures of pictures "
        "are recognised less reliably than the figures say"
        + (f"; see {verification.ROBUSTNESS_TITLE}." if facts.figures.get("robustness") else "."),
    ]
    yield doc.Bullets(items)


# By key: title, and what yields the parts. All are in the report, in this order.
SECTIONS: dict[str, tuple[str, Callable[[doc.Facts], Iterator[doc.Part]]]] = {
    "promise": ("The budget of strangers named", identification.budget),
    "worth": ("Headline figures", doc.summary),
    "thresholds": ("Thresholds", identification.thresholds),
    "pairs": ("One-to-one verification", verification.pairs),
    "probability": ("Calibration of the probability", verification.verifier),
    "search": ("One-to-many identification", identification.identification),
    "robustness": (verification.ROBUSTNESS_TITLE, verification.robustness),
    "groups": ("Groups", verification.groups),
    "lfw": ("LFW's protocols", verification.lfw),
    "mistakes": ("Worst mistakes", _mistakes),
    "map": ("Map of faces", _map),
    "training": ("Training", _training),
    "use": ("Intended use", _use),
    "seen": ("Training and calibration data", _seen),
    "limits": ("Limits", _limits),
    "licences": ("Licences", _licences),
    "lineage": ("Lineage", _lineage),
}
# Of the model card (Mitchell et al. 2019).
CARD = (
    *("use", "seen", "worth", "promise", "thresholds"),
    *("robustness", "groups", "limits", "licences"),
)


def sections(facts: doc.Facts, keys: Iterable[str] = tuple(SECTIONS)) -> list[doc.Section]:
    """Return the sections with these keys that have parts, in the order of `keys`."""
    chosen = [(key, *SECTIONS[key]) for key in keys]
    made = [doc.Section(key, title, list(parts(facts))) for key, title, parts in chosen]
    return [section for section in made if section.parts]


TEMPLATE = "report.html.j2"


def page(facts: doc.Facts, pairs: Sequence[MistakenPair], folder: Path) -> str:
    """Return the HTML page; pictures are read from `folder`, every name is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda part, kind: type(part).__name__ == kind
    shown = [
        replace(section, parts=[
            part for part in section.parts
            if not isinstance(part, doc.Picture) or (folder / part.file).is_file()
        ])
        for section in sections(replace(facts, pictured=bool(pairs)))
    ]  # fmt: skip
    text = environment.get_template(TEMPLATE).render(
        about=facts.about,
        what="release" if facts.thresholds else "embedder",
        figures=facts.figures,
        headline=identification.budget_sentence(facts),
        tiles=_tiles(facts),
        sections=shown,
        pairs=pairs,
        source=lambda file: picture_source(folder / file),
        photo=lambda crop: None if crop is None else _jpeg(Image.fromarray(np.asarray(crop))),
    )
    # File names may contain bytes that are not UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def picture_source(path: Path) -> str:
    """Return the picture as a data URI; a large one is converted to JPEG."""
    if path.stat().st_size < 1 << 18:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return _jpeg(Image.open(path).convert("RGB"))


def _jpeg(image: Image.Image) -> str:
    """Return a data URI, of a crop about 4 kB."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _tiles(facts: doc.Facts) -> list[tuple[str, str]]:
    """Return (name, value) of the figures at the top of the page."""
    figures = facts.figures
    tiles = []
    for name, protocol, key in (
        ("strangers named", "open_set", "fpir"),
        ("known people named correctly", "open_set", "dir"),
        ("TAR at FAR 0.001", "verification", "tar_at_far_0.001"),
        ("rank-1", "closed_set", "rank_1"),
        ("LFW View 1 accuracy", "lfw_view1", "accuracy"),
        ("LFW View 2 accuracy", "lfw_view2", "accuracy"),
    ):
        value = figures.get(protocol, {}).get(key)
        if value is not None:
            tiles.append((name, f"{value:.2%}"))
    return [*tiles, ("people", f"{figures['people']:,}"), ("photos", f"{figures['photos']:,}")]
