"""All protocols together: complete, seeded, rounded; curves and pictures from the same numbers."""

import json
import re

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.evaluation.evaluate import (
    CURVES,
    evaluate_embeddings,
    measure_populations,
    write_curves,
)
from faceops.evaluation.plots import read_history, write_plots
from faceops.evaluation.report.document import About, Facts, markdown
from faceops.evaluation.report.report import CARD, sections
from tests.evaluation.simulated import (
    SETTINGS,
    VERIFIER,
    adapting,
    album_of,
    evaluation,
    people,
    thresholds,
)
from tests.verification import population


def test_evaluation_is_the_same_twice_and_complete():
    figures = evaluation().figures
    faces = people(60, 4, 0.4, 2)
    assert evaluate_embeddings(faces, VERIFIER, thresholds(), SETTINGS).figures == figures
    assert json.loads(json.dumps(figures)) == figures
    verification = figures["verification"]
    assert verification["accuracy_pairs"] == 100
    assert {"tar_at_far_0.01", "tar_at_far_0.001", "roc_auc"} <= set(verification)
    assert verification["tar_at_far_0.001_supported"]
    assert (verification["genuine_pairs"], verification["impostor_pairs"]) == (360, 28320)
    assert {"dir", "fpir", "misidentified", "dir_at_fpir_0.01"} <= set(figures["open_set"])
    assert figures["gallery_query"]["identification_rate"] == figures["open_set"]["dir"]
    assert figures["random_pairs"]["draws"] == 3
    assert figures["one_against_ten"]["accuracy"] > 0.9
    assert figures["open_sets"][1] == figures["open_set"]
    held = [(row["gallery_faces"], row["budget"]) for row in figures["promise"]]
    assert held == [(n, b) for n in (10, 20, 50) for b in (0.1, 0.05)]
    assert "reason" in figures["open_sets"][2]


def test_every_interval_holds_its_figure():
    seen = 0
    for protocol in ("verification", "random_pairs", "one_against_ten", "closed_set", "open_set"):
        figures = evaluation().figures[protocol]
        for name in [key for key in figures if key.endswith("_interval")]:
            low, high = figures[name]["low"], figures[name]["high"]
            assert low <= figures[name.removesuffix("_interval")] <= high, (protocol, name)
            seen += 1
    assert seen >= 12


def test_without_thresholds_only_what_compares_models_is_given():
    figures = evaluate_embeddings(people(60, 4, 0.4, 2), VERIFIER, None, SETTINGS).figures
    assert "dir" not in figures["open_set"]
    assert figures["open_set"]["dir_at_fpir_0.01"] > 0.3
    assert "accuracy_at_far_0.01" not in figures["random_pairs"]


def test_an_album_evaluation_says_what_the_albums_say_also_on_the_page():
    faces = album_of(80, 4, 0.4)
    figures = evaluate_embeddings(faces, population.VERIFIER, adapting(), SETTINGS).figures
    names = np.repeat(["school", "club"], 160)
    rows = measure_populations(faces, names, population.VERIFIER, adapting(), SETTINGS)
    assert [(row["name"], row["people"]) for row in rows] == [("club", 40), ("school", 40)]
    assert sum(row["worst"] for row in rows) >= 1
    assert measure_populations(faces, np.repeat(["one"], 320), population.VERIFIER, adapting(),
                               SETTINGS) == []  # fmt: skip
    about = About("an album", [], [], [], [])
    facts = Facts(about, figures | {"populations": rows}, adapting())
    card = markdown("Card", sections(facts, CARD))
    assert "The promise by population, each an album of its own" in card
    assert "| estimated, 95 % |" in card
    assert "For an album with too few people (alike 0: 300 people, 1,200 photos; alike 0.4" in card
    shown = markdown("Search", sections(facts, ["search"]))
    assert re.search(r"; estimated 0.* to 0.*, right in \d of 5 draws \|", shown)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no test photos"),
        (range(4), "only one person|two people"),
        (range(0, 240, 4), "two photos"),
    ],
)
def test_too_few_people_is_a_sentence(rows, message):
    faces = people(60, 4, 0.4, 2).of(np.array(rows, int))
    with pytest.raises(FaceOpsError, match=message):
        evaluate_embeddings(faces, VERIFIER, thresholds(), SETTINGS)


def test_curves_have_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_curves(evaluation(), tmp_path / name)
    written = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert written == sorted(CURVES)
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    _, same, different = evaluation().score_histogram()
    assert same.sum() == len(evaluation().pairs.roc.genuine)
    assert different.sum() == evaluation().pairs.roc.impostors


def test_what_was_not_measured_is_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: path.touch())
    written = write_plots(evaluation(), None, [0.01], [{"seen": None}], tmp_path, [{"epoch": "0"}])
    assert [path.stem for path in written] == ["roc", "det", "scores", "cmc"]
    assert write_plots(None, None, [0.01], [{"seen": None}], tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "text", [b"epoch,loss\n1,2\n", b"epoch,phase,loss,val_tar\n1,a,much,0\n", b"\xff\n1\n"]
)
def test_a_file_that_is_not_a_history_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_bytes(text)
    with pytest.raises(FaceOpsError, match=r"history\.csv is not a training history"):
        read_history(tmp_path / "history.csv")
