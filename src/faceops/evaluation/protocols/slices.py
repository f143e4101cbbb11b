"""Figures of groups (slices) of people or photos, at the thresholds of all people together.

Groups are the values of attributes that a CSV states about people or photos. A false accept inside
a group is an impostor pair of two people of the group: there a face is most likely to be mistaken
for another. Where a group is too small, the figures say how many people it takes.

Identification inside a group: gallery and strangers are of the group. The gallery has `GALLERY`
people with one photo each, whatever the group's size; figures are exact expectations over all such
galleries (`faceops.verification.error_rates`). All faces together are one album, whose threshold
all groups get.
"""

import csv
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.base.figures import threshold_at
from faceops.dataset.names import name_key
from faceops.evaluation.protocols.album_scores import (
    NOT_CALIBRATED,
    AlbumScores,
    release_threshold,
    score_album,
)
from faceops.verification import error_rates
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.pairs import (
    all_pair_scores,
    codes,
    genuine_pairs,
    row_blocks,
    score_pairs,
)
from faceops.verification.thresholds import Thresholds, people_for_far, people_for_fpir
from faceops.verification.verifier import Verifier, reaches

KEYS = ("person", "photo", "photo_id")
RESERVED = ("worst", "about")  # keys of the figures, beside the attributes
MOST_VALUES = 30  # an attribute with more values is a measurement, not a grouping


@dataclass(frozen=True)
class Attributes:
    """`values`: attribute -> text (N,), one a face, "" where nothing is stated.

    `rows_without_faces`: rows of the file that match none of the faces.
    """

    values: dict[str, np.ndarray]
    rows_without_faces: int


@dataclass(frozen=True)
class AttributesFile:
    """The content of a CSV: `stated` gives, by the `key` column, attribute -> value."""

    path: Path
    key: str
    attributes: list[str]
    stated: dict[str, dict[str, str]]

    def of(self, faces: EmbeddedFaces, photo_ids: np.ndarray | None = None) -> Attributes:
        """Return the attributes of `faces`; `photo_ids` text (N,) where they are known.

        What is not among the faces is counted only: one file may serve several sets.

        Raises UsageError: no row matches a face, or the key is not known here.
        """
        if self.key == "photo_id" and photo_ids is None:
            raise UsageError(
                f"{self.path}: photo_id is not known here; use the column photo or person."
            )
        names = {"person": faces.persons, "photo": faces.paths, "photo_id": photo_ids}[self.key]
        assert names is not None
        keys = [_key(self.key, str(name)) for name in names]
        missing = len(self.stated.keys() - set(keys))
        if missing == len(self.stated):
            raise UsageError(
                f"{self.path}: none of its {missing} rows matches the {len(faces)} photos "
                f"evaluated; the first names {self.key} {next(iter(self.stated))!r}: check the "
                f"column {self.key}."
            )
        empty = dict.fromkeys(self.attributes, "")
        values = {
            column: np.array([self.stated.get(name, empty)[column] for name in keys], dtype=str)
            for column in self.attributes
        }
        return Attributes(values, missing)


def read_attributes(path: Path) -> AttributesFile:
    """Read a CSV of attributes.

    One column is the key: `person` (any spelling), `photo` (a path relative to the data folder,
    with or without photos/) or `photo_id`; every other column is an attribute. An empty cell states
    nothing.

    Raises UsageError: the file is absent, empty, no text, without a key column, repeats a key, or
    has a row of another length or too many values.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name a CSV file of attributes.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}); save it as UTF-8.") from None
    if len(lines) < 2:
        what = "has a header and no rows" if lines else "is empty"
        raise UsageError(f"{path} {what}; give each person or photo a row.")
    header = lines[0][1]
    keys = [column for column in KEYS if column in header]
    if len(keys) != 1 or len(header) < 2 or len(set(header)) < len(header) or "" in header:
        raise UsageError(
            f"{path} has the columns {', '.join(header)}; it takes one of person, photo or "
            "photo_id, and one or more attributes, each with a different name."
        )
    if reserved := set(header) & set(RESERVED):
        raise UsageError(f"{path} has an attribute called {min(reserved)!r}; rename it.")
    stated: dict[str, dict[str, str]] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, line {number}: {len(cells)} cells, the header has {len(header)}; "
                "correct the line."
            )
        row = dict(zip(header, cells, strict=True))
        name = _key(keys[0], row.pop(keys[0]))
        if name in stated:
            raise UsageError(
                f"{path}, line {number}: {keys[0]} {name!r} has a row already; keep one of them."
            )
        stated[name] = row
    attributes = [column for column in header if column != keys[0]]
    for column in attributes:
        if (count := len({row[column] for row in stated.values()} - {""})) > MOST_VALUES:
            raise UsageError(
                f"{path}: {column} has {count} different values, which are no groups; put them "
                f"into at most {MOST_VALUES} bins or remove the column."
            )
    return AttributesFile(path, keys[0], attributes, stated)


def _key(key: str, name: str) -> str:
    if key == "person":
        return name_key(name)
    return name.removeprefix("./").removeprefix("photos/") if key == "photo" else name.lower()


GALLERY = 20
FAR = 1e-3
MISSED = 0.1  # a share of misses that a group must have enough people for
PEOPLE_NEEDED = people_for_fpir(MISSED)  # the same rule of three


def measure_slices(
    faces: EmbeddedFaces, attributes: Attributes, verifier: Verifier,
    thresholds: Thresholds | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return attribute -> value -> figures, and "worst": the worst groups that are large enough.

    The threshold of "tar" and "false_accept_rate" keeps `FAR` on all `faces` together; those
    with "release_" are the release's own for `FAR`.
    """
    impostor = all_pair_scores(faces.embeddings, faces.persons, verifier, seed=seed).impostor
    cuts = {"": threshold_at(np.sort(impostor)[::-1], FAR)}
    released, refusal = release_threshold(thresholds, FAR)
    if released is not None:
        cuts["release_"] = released
    scored = score_album(faces.embeddings, faces.embeddings[:0], verifier, thresholds)
    album = replace(faces, embeddings=scored.faces)
    result: dict[str, Any] = {
        attribute: {
            value: _group_figures(faces.of(values == value), verifier, cuts, seed)
            | _search_figures(album.of(values == value), scored, thresholds, seed)
            for value in np.unique(values[values != ""]).tolist()
        }
        for attribute, values in attributes.values.items()
    }
    worst = {name: _worst(result, name) for name in ("tar", "false_accept_rate")}
    about = {
        "far": FAR,
        "threshold": cuts[""],
        "release_threshold": released,
        "release_threshold_refused": refusal,
        "photos_without_value": {
            name: int((values == "").sum()) for name, values in attributes.values.items()
        },
        "rows_without_faces": attributes.rows_without_faces,
    }
    return result | {"worst": worst, "about": about}


def _group_figures(
    faces: EmbeddedFaces, verifier: Verifier, cuts: dict[str, float], seed: int
) -> dict[str, Any]:
    people, pairs = faces.people, genuine_pairs(faces.persons)
    whose = codes(faces.persons)[pairs[:, 0]]
    able = len(np.unique(whose))
    genuine = score_pairs(faces.embeddings, pairs, verifier)
    floor = min(cuts.values())
    impostors = error_rates.find_impostor_pairs(faces.embeddings, faces.persons, verifier, floor)
    figures: dict[str, Any] = {"people": people, "photos": len(faces)}
    figures |= {"people_with_two_photos": able, "genuine_pairs": len(pairs)}
    for prefix, cut in cuts.items():
        hits = reaches(genuine, cut)
        ends = impostors.interval(cut, seed=seed) if people > 1 else {"low": nan, "high": nan}
        figures |= {
            f"{prefix}tar": float(hits.mean()) if len(hits) else None,
            f"{prefix}tar_interval": error_rates.share_interval(hits, whose, seed),
            f"{prefix}false_accept_rate": impostors.rate(cut) if people > 1 else None,
            f"{prefix}false_accept_rate_interval": ends,
        }
    return figures | _support(people, able)


def _search_figures(
    faces: EmbeddedFaces, scored: AlbumScores, thresholds: Thresholds | None, seed: int
) -> dict[str, Any]:
    """Return "dir" and "fpir" with intervals at the release's default budget, or why not.

    The rows of `faces` are those that `scored.verifier` compares.
    """
    absent: dict[str, Any] = {"dir": None, "fpir": None}
    if thresholds is None:
        return absent | {"search_refused": NOT_CALIBRATED}
    if faces.people <= GALLERY:
        reason = f"{faces.people} people cannot fill a gallery of {GALLERY} and be strangers to it"
        return absent | {"search_refused": reason}
    try:
        cut = scored.threshold(thresholds, thresholds.default_budget, [1] * GALLERY).log_odds
    except UsageError as error:
        return absent | {"search_refused": str(error)}
    comparisons = error_rates.impostor_comparisons(
        faces.embeddings, faces.persons, scored.verifier, cut, seed=seed
    )
    named, whose = chance_identified(faces, scored, cut, thresholds.runner_up_margin, seed)
    return {
        "dir": float(named.mean()) if len(named) else None,
        "dir_interval": error_rates.share_interval(named, whose, seed),
        "fpir": comparisons.rate(cut, GALLERY),
        "fpir_interval": comparisons.interval(cut, GALLERY, seed=seed),
        "gallery_people": GALLERY,
        "budget": thresholds.default_budget,
        "search_refused": "",
    }


def chance_identified(
    faces: EmbeddedFaces, scored: AlbumScores, cut: float, margin: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance of a correct name for each probe, float64 (Q,), and its person, (Q,).

    A photo of each person is drawn for the gallery, `DRAWS` times; every other photo probes. With
    the own score at `cut` or above, the name is given unless it lacks the lead over one of the
    `GALLERY` - 1 others, see `AlbumScores.lead`: C(M - E, n) / C(M, n) galleries are without the E
    of them. The rows of `faces` are those that `scored.verifier` compares.
    """
    person = codes(faces.persons)
    draw = np.random.default_rng(seed)
    chances, whose = [np.zeros(0)], [np.zeros(0, int)]
    for _ in range(error_rates.DRAWS):
        order = draw.permutation(len(person))
        gallery = order[np.unique(person[order], return_index=True)[1]]
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        for block in row_blocks(len(probes), faces.people):
            rows = probes[block]
            scores = scored.verifier.logit_matrix(faces.embeddings[rows], faces.embeddings[gallery])
            right = np.arange(len(rows)), person[rows]
            own = scores[right]
            scores[right] = -np.inf
            near = (own[:, None] - scores < scored.lead(scores, cut, margin)).sum(1)
            alone = 1 - error_rates.chance_named(near, faces.people - 1, GALLERY - 1)
            chances.append(np.where(reaches(own, cut), alone, 0.0))
            whose.append(person[rows])
    return np.concatenate(chances), np.concatenate(whose)


def _support(people: int, able: int) -> dict[str, Any]:
    """Return whether the two rates are supported, and in words what is missing."""
    for_far = people_for_far(FAR)
    reasons = []
    if able < PEOPLE_NEEDED:
        reasons.append(
            f"{able} people with two photos: even without a miss more than {MISSED:.0%} could be "
            f"missed; it takes {PEOPLE_NEEDED}"
        )
    if people < for_far:
        reasons.append(
            f"{people} people: a false accept rate of {FAR:g} cannot be seen; it takes {for_far}"
        )
    return {
        "tar_supported": able >= PEOPLE_NEEDED,
        "false_accept_rate_supported": people >= for_far,
        "people_needed": {"tar": PEOPLE_NEEDED, "false_accept_rate": for_far},
        "too_small": "; ".join(reasons),
    }


def _worst(result: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the group with the lowest TAR or highest FAR, of those that are large enough."""
    able = [
        (group[name], attribute, value)
        for attribute, groups in result.items()
        for value, group in groups.items()
        if group[f"{name}_supported"] and group[name] is not None
    ]
    if not able:
        return None
    rate, attribute, value = (min if name == "tar" else max)(able)
    interval = result[attribute][value][f"{name}_interval"]
    return {"attribute": attribute, "value": value, name: rate, f"{name}_interval": interval}
