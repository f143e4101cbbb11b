"""Figures of groups at the thresholds of all people together; attributes from a CSV."""

from dataclasses import replace

import numpy as np
import pytest

from faceops.base.errors import UsageError
from faceops.evaluation.protocols.album_scores import AlbumScores, score_album
from faceops.evaluation.protocols.slices import (
    FAR,
    GALLERY,
    Attributes,
    chance_identified,
    measure_slices,
    read_attributes,
)
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.thresholds import SearchTail, TailPoint, Thresholds
from tests.evaluation.simulated import VERIFIER, adapting, album_of, people
from tests.verification import population


def release_thresholds() -> Thresholds:
    tail = [TailPoint(rate=0.9, probability=0.1), TailPoint(rate=1e-4, probability=0.99)]
    return Thresholds(
        data="nobody", people=5000, photos=5000, genuine_pairs=1, impostor_pairs=1, pairs=[],
        search=[], pair_tail=tail, search_tails=[SearchTail(gallery_faces=1, points=tail)],
        default_budget=0.1, runner_up_margin=1.0,
    )  # fmt: skip


def test_a_groups_rates_are_those_of_its_pairs_one_by_one():
    some = people(60, 3, 0.4)
    group = np.where(np.arange(len(some)) % 9 < 6, "left", "right")
    figures = measure_slices(
        some, Attributes({"side": group}, 0), VERIFIER, release_thresholds(), seed=0
    )
    cut = figures["about"]["threshold"]
    for value in ("left", "right"):
        rows = np.flatnonzero(group == value)
        probability = VERIFIER.probability_matrix(some.embeddings[rows], some.embeddings[rows])
        same = some.persons[rows][:, None] == some.persons[rows]
        above = np.triu(np.ones_like(same), 1).astype(bool)
        found = figures["side"][value]
        assert found["genuine_pairs"] == (same & above).sum()
        assert found["tar"] == pytest.approx((probability[same & above] >= cut).mean())
        assert found["false_accept_rate"] == pytest.approx(
            (probability[~same & above] >= cut).mean()
        )
        at = release_thresholds().for_pairs(FAR)
        assert found["release_tar"] == pytest.approx((probability[same & above] >= at).mean())
        low, high = found["tar_interval"]["low"], found["tar_interval"]["high"]
        assert low <= found["tar"] <= high
    rates = {value: figures["side"][value]["tar"] for value in ("left", "right")}
    able = [value for value in rates if figures["side"][value]["tar_supported"]]
    assert able == ["left"]  # 40 people; 20 are too few
    assert figures["worst"]["tar"] == {
        "attribute": "side", "value": "left", "tar": rates["left"],
        "tar_interval": figures["side"]["left"]["tar_interval"],
    }  # fmt: skip
    assert "it takes 30" in figures["side"]["right"]["too_small"]
    assert figures["worst"]["false_accept_rate"] is None  # 142 people would be needed
    assert figures["side"]["left"]["people_needed"]["false_accept_rate"] == 142


def test_a_group_of_one_person_has_the_figures_that_exist():
    some = people(5, 2)
    group = np.where(some.persons == "P000", "one", "")
    figures = measure_slices(some, Attributes({"x": group}, 0), VERIFIER, None, seed=0)
    assert list(figures["x"]) == ["one"]
    one = figures["x"]["one"]
    assert (one["people"], one["genuine_pairs"]) == (1, 1)
    assert one["false_accept_rate"] is None
    assert one["dir"] is None
    assert "nothing was calibrated" in one["search_refused"]
    assert figures["worst"] == {"tar": None, "false_accept_rate": None}


def scores(normalised: bool) -> AlbumScores:
    if not normalised:
        return AlbumScores(people(25, 2, 0.8).embeddings, VERIFIER, None)
    rows, _ = population.album(1, 25, 2, 0.4, noise=1.2)
    return score_album(rows, rows[:0], population.VERIFIER, adapting())


@pytest.mark.parametrize(
    ("normalised", "cut", "margin"), [(False, -4.0, 0.0), (False, -4.0, 1.0), (True, -6.0, 1.0)]
)
def test_the_chance_of_the_right_name_is_that_of_many_galleries(normalised, cut, margin):
    scored = scores(normalised)
    some = replace(people(25, 2), embeddings=scored.faces)
    chance, whose = chance_identified(some, scored, cut, margin, seed=4)
    assert len(chance) == len(whose) == 3 * 25
    draw = np.random.default_rng(5)
    order = np.random.default_rng(4).permutation(50)  # the first gallery that is drawn
    person = np.repeat(np.arange(25), 2)
    gallery = order[np.unique(person[order], return_index=True)[1]]
    probes = np.setdiff1d(np.arange(50), gallery)
    logits = scored.verifier.logit_matrix(some.embeddings[probes], some.embeddings[gallery])
    named = np.zeros(25)
    for _ in range(600):
        for row in range(25):
            others = draw.permutation(np.delete(np.arange(25), row))[: GALLERY - 1]
            own, rival = logits[row, row], logits[row, others].max()
            right = own > rival if margin else own >= rival
            lead = scored.lead(rival, cut, margin)
            named[row] += own >= cut and right and own - rival >= lead
    assert 0.2 < chance.mean() < 0.98
    assert chance[:25] == pytest.approx(named / 600, abs=0.08)


PERSONS = np.repeat([f"Ada_00{number}" for number in range(4)], 2)
PATHS = np.array([f"photos/{person}/{i % 2}.jpg" for i, person in enumerate(PERSONS)])
FACES = EmbeddedFaces(np.zeros((8, 2), np.float32), PERSONS, PATHS)


def test_people_and_photos_get_their_attributes(tmp_path):
    def read(text: str, ids: np.ndarray | None = None) -> Attributes:
        (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
        return read_attributes(tmp_path / "groups.csv").of(FACES, ids)

    by_person = read('\ufeffperson,age,"hat"\nada 000,old,yes\nADA-001,,no\nNobody,old,no\n')
    assert by_person.values["age"].tolist() == ["old", "old", "", "", "", "", "", ""]
    assert by_person.values["hat"].tolist() == ["yes", "yes", "no", "no", "", "", "", ""]
    assert by_person.rows_without_faces == 1
    by_photo = read("light,photo\ndim,photos/Ada_000/1.jpg\ndim,Ada_003/0.jpg\n")
    assert np.flatnonzero(by_photo.values["light"] == "dim").tolist() == [1, 6]
    ids = np.array([f"{number:064x}" for number in range(8)])
    by_id = read(f"photo_id,x\n{ids[2]},a\n", ids)
    assert np.flatnonzero(by_id.values["x"] == "a").tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("person,age\n", "has a header and no rows"),
        ("name,age\nAda,3\n", "has the columns name, age"),
        ("person\nAda\n", "one or more attributes"),
        ("person,photo,age\nAda,x,3\n", "one of person, photo or photo_id"),
        ("person,age,age\nAda,1,2\n", "each with a different name"),
        ("person,worst\nAda,1\n", "called 'worst'"),
        ("person,age\nAda,old\nada,old\n", "line 3: person 'ada' has a row already"),
        ("person,age\nAda,old,1\n", "line 2: 3 cells, the header has 2"),
        ("person,age\n" + "".join(f"P{n},{n}\n" for n in range(31)), "31 different values"),
        ("person,age\nNobody,old\n", "none of its 1 rows matches the 8 photos"),
        ("photo_id,age\nabc,old\n", "photo_id is not known here"),
        ('person,age\n"Ada,old\n', "cannot be read as CSV"),
        (b"\xff\xd8\xff\xe0 person,age", "cannot be read as CSV"),
        (None, "does not exist"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as caught:
        read_attributes(path).of(FACES)
    assert "\n" not in str(caught.value)


def test_groups_of_an_album_get_its_threshold():
    adults, children = album_of(120, 3, 0.0, 1), album_of(120, 3, 0.5, 2)
    both = EmbeddedFaces(
        np.concatenate([adults.embeddings, children.embeddings]),
        np.concatenate([adults.persons, np.char.add("c", children.persons)]),
        np.concatenate([adults.paths, children.paths]),
    )
    groups = Attributes({"age": np.repeat(["adult", "child"], 360)}, 0)
    earlier = adapting().model_copy(update={"normalisation": None})
    now, before = (
        measure_slices(both, groups, population.VERIFIER, thresholds, 0)["age"]
        for thresholds in (adapting(), earlier)
    )
    assert now["child"]["tar"] == before["child"]["tar"]  # pairs are compared as they are
    assert now["child"]["fpir"] < before["child"]["fpir"] / 2
    assert now["adult"]["dir"] > 0.9
