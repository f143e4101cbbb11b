"""A run names faces with a threshold measured on its own album."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceops.base.reasons import Reason
from faceops.cli.identify import result_lines
from faceops.gallery.store import Gallery
from faceops.identification.engine.ranking import AlbumSearch, rank_people
from faceops.identification.forget.files import ForgottenOutput, forget_in_files
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from faceops.identification.summary import AlbumEstimate, promise, read_summary
from faceops.release.bundle import Bundle
from faceops.serving import PhotoService, RequestParams
from faceops.verification.album import FEWEST_PEOPLE, measure_album, threshold_in
from faceops.verification.verifier import sigmoid
from tests.identification import simulated_album as sim
from tests.identification.conftest import Run, rows_of
from tests.release.tiny_release import write_tiny
from tests.serving.posted import posted

ENROLLED = range(8)
STRANGERS = range(100, 190)
PHOTOS = [
    *(f"{person}:{number}" for person in ENROLLED for number in range(3)),
    *(f"{person}:0 {person + 1}:0" for person in STRANGERS[::2]),
    *(f"{person}:1" for person in STRANGERS[:40]),
]


@pytest.fixture(scope="module")
def release(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A release that knows normalised scores."""
    folder = write_tiny(tmp_path_factory.mktemp("simulated") / "bundle", weights_dir)
    return sim.simulated(Bundle.load(folder, name="simulated"))


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    sim.no_model(monkeypatch)


@pytest.fixture
def people(tmp_path: Path) -> Gallery:
    """Eight enrolled people."""
    return sim.enrolled(tmp_path / "people", ENROLLED)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An album of them and of ninety strangers, some in pairs."""
    return sim.write_album(tmp_path / "photos", PHOTOS)


@pytest.fixture
def run(photos: Path, people: Gallery, release: Bundle, tmp_path: Path) -> Run:
    """Runs over the album."""
    return Run(photos, people, release, tmp_path / "out")


def decided(out: Path) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Name, reason and share of each face, by photo and place."""
    columns = ("decision", "person", "runner_up", "reason", "stranger_share")
    return {
        (row["photo_id"], row["face_index"]): tuple(row[name] for name in columns)
        for row in rows_of(out)
    }


def test_the_rows_are_those_of_a_direct_computation(run):
    summary = run()
    faces = [tuple(map(int, one.split(":"))) for photo in PHOTOS for one in photo.split()]
    codes = [number for number, photo in enumerate(PHOTOS) for _ in photo.split()]
    thresholds = run.bundle.release.thresholds
    assert thresholds.normalisation is not None
    rows = sim.embeddings(faces)  # type: ignore[arg-type]
    known = thresholds.normalisation
    templates = known.templates(run.gallery.embeddings, np.repeat(np.arange(len(ENROLLED)), 2))
    album = measure_album(thresholds.normalisation, rows, templates, np.array(codes))
    found = threshold_in(album, thresholds, sim.BUDGET, [2] * len(ENROLLED))
    described = (album.cohort.describe(part) for part in (rows, templates))
    best = album.cohort.verifier.logit_matrix(*described)
    shares = album.strangers_named(best.max(axis=1), len(ENROLLED) * 2**0.6)
    assert found.low is not None and summary.album is not None
    assert summary.threshold == pytest.approx(found.probability, abs=1e-9)
    assert summary.threshold_measured
    assert (summary.album.people, summary.album.faces) == (album.people, len(faces))
    assert (summary.album.low, summary.album.high) == (found.low, found.high)
    for row, scores, share in zip(run.rows(), best, shares, strict=True):
        order = np.argsort(-scores)
        top, next_ = scores[order[:2]]
        assert row["probability"] == pytest.approx(float(sigmoid(top)), abs=1e-5)
        assert row["stranger_share"] == pytest.approx(share, rel=1e-3)
        lead = 0.5 + max(0, next_ - found.log_odds + 2)
        if abs(top - found.log_odds) > 1e-3 and abs(top - next_ - lead) > 1e-3:
            named = top >= found.log_odds and top - next_ >= lead
            assert row["person"] == (f"P{order[0]:03d}" if named else None)
            assert (row["reason"] == Reason.BELOW_THRESHOLD) == (top < found.log_odds)
        assert not row["person"] or row["stranger_share"] <= sim.BUDGET * 1.001
    known = sum(person in ENROLLED for person, _ in faces)
    assert summary.identified >= 0.9 * known
    assert read_summary(run.out) == summary
    file = run.out / "summary.json"  # of an earlier version: it had no album
    content = json.loads(file.read_text("utf-8"))
    del content["album"]
    file.write_text(json.dumps(content), "utf-8")
    assert read_summary(run.out).album is None


def test_a_larger_budget_takes_no_name_away(run):
    before: set[tuple[str, int, str]] = set()
    for budget in (0.03, sim.BUDGET, 0.2, 0.6):
        run(budget=budget)
        rows = run.rows()
        named = {(row["photo_id"], row["face_index"], row["person"]) for row in rows}
        named = {key for key in named if key[2] is not None}
        assert named >= before
        before = named


def test_the_album_is_the_same_in_any_order_and_read_again(run, tmp_path):
    first = run()
    rows = run.rows()
    again = run(recheck=True)
    assert not again.unchanged and again.photos_opened == 0
    assert (again.threshold, again.album) == (first.threshold, first.album)
    assert run.rows() == rows
    turned = sim.write_album(tmp_path / "turned", PHOTOS[::-1])
    other = identify(
        turned, run.gallery, run.bundle, tmp_path / "other", IdentifySettings(threads=3)
    )
    assert other.threshold == pytest.approx(first.threshold, rel=1e-6)
    expected = decided(run.out)
    for key, (*named, share) in decided(tmp_path / "other").items():
        assert named == list(expected[key][:-1])
        assert share == pytest.approx(expected[key][-1], rel=1e-3)
    for number, path in enumerate(sorted(run.album.iterdir())):
        (run.album / f"copy {number}.jpg").write_bytes(path.read_bytes())
    twice = run()
    assert (twice.faces, twice.photos_opened) == (2 * first.faces, 0)
    assert (twice.threshold, twice.album) == (first.threshold, first.album)


def test_new_photos_change_the_album_and_all_faces_are_decided_again(run, tmp_path):
    first = run()
    before = decided(run.out)
    for person in range(300, 340):
        (run.album / f"new {person}.jpg").write_text(f"{person}:0", "utf-8")
    second = run()
    assert second.photos_opened == 40
    assert first.album is not None and second.album is not None
    assert second.album.people > first.album.people + 30
    assert second.threshold != first.threshold
    after = decided(run.out)
    assert any(after[key] != row for key, row in before.items())
    fresh = identify(run.album, run.gallery, run.bundle, tmp_path / "fresh")
    assert fresh.threshold == second.threshold
    assert decided(tmp_path / "fresh") == after


@pytest.mark.parametrize("where", ["embed", "rank"])
def test_an_interrupted_run_continues_with_the_rows_of_an_undisturbed_one(where, run, tmp_path):
    place = AlbumSearch if where == "rank" else Bundle
    whole = getattr(place, where)
    calls = itertools.count()

    def interrupted(*given: Any) -> Any:
        if next(calls) == (0 if where == "rank" else 2):
            raise KeyboardInterrupt
        return whole(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(threads=1)
    assert not (run.out / "faces.csv").exists()
    summary = run(threads=1)
    assert 64 <= summary.photos_reused <= len(PHOTOS)
    assert (summary.photos_opened == 0) == (where == "rank")
    other = run._replace(out=tmp_path / "undisturbed")
    undisturbed = other(threads=1)
    assert run.rows() == other.rows()
    assert (summary.threshold, summary.album) == (undisturbed.threshold, undisturbed.album)


def test_a_small_album_says_so_and_uses_the_threshold_of_the_calibration(people, release, tmp_path):
    photos = sim.write_album(tmp_path / "few", PHOTOS[:34])
    summary = identify(photos, people, release, tmp_path / "out")
    album = summary.album
    assert album is not None and album.people < 40
    assert (album.low, album.high, album.population) == (None, None, "simulated people")
    assert not summary.threshold_measured and summary.identified > 10
    sentence = promise(summary)
    assert f"{album.people} people can be told apart, {FEWEST_PEOPLE} are needed" in sentence
    assert "threshold for simulated people" in sentence
    assert sentence in result_lines(summary, tmp_path / "out")
    assert "too small to measure" in (tmp_path / "out/report.html").read_text("utf-8")
    summary.album = replace(album, people=1)
    assert ": 1 person can be told apart, " in promise(summary)
    summary.album = AlbumEstimate(50, 60, low=0.0296, high=0.999, population="")
    assert "an estimated 3 to 100 % do" in promise(summary)
    many = sim.enrolled(tmp_path / "many", range(60))  # people who are enrolled make no album
    photos = sim.write_album(tmp_path / "fewer", PHOTOS[:12])
    album = identify(photos, many, release, tmp_path / "out").album
    assert album is not None and album.low is None and album.people <= 12


def test_the_summary_and_the_report_say_what_was_measured(run):
    summary = run()
    assert summary.album is not None and summary.album.high is not None
    sentence = promise(summary)
    assert sentence.startswith("At most 5 % of strangers' faces shall get a name. In this album")
    assert f"to {100 * summary.album.high:.2g} % do (95 % interval)" in sentence
    page = (run.out / "report.html").read_text("utf-8")
    assert "do (95 % interval), measured without labels" in page
    near = {row["person"] for row in run.rows()
            if row["person"] and row["stranger_share"] >= sim.BUDGET / 10}  # fmt: skip
    assert near
    marked = page.split("marked <strong>check</strong> of")[1].split("</p>")[0]
    assert all(f">{person}</a>" in marked for person in near)
    assert page.count(" class=check>") >= len(near)
    stored = json.loads((run.out / "summary.json").read_text("utf-8"))
    assert stored["album"]["people"] == summary.album.people
    metrics = (run.out / "metrics.prom").read_text("utf-8")
    assert "strangers_named{photos_folder=" in metrics and 'bound="high"' in metrics


def test_a_release_without_normalisation_decides_as_before(run):
    old = sim.without_normalisation(run.bundle)
    summary = run._replace(bundle=old)()
    threshold = old.release.thresholds.for_search(sim.BUDGET, 2 * len(ENROLLED))
    assert (summary.album, summary.threshold, promise(summary)) == (None, threshold, "")
    faces = [tuple(map(int, one.split(":"))) for photo in PHOTOS for one in photo.split()]
    ranked = rank_people(
        sim.embeddings(faces),  # type: ignore[arg-type]
        run.gallery.embeddings, run.gallery.person_rows, sim.VERIFIER.probability,
    )  # fmt: skip
    rows = run.rows()
    bests = zip(ranked.people[:, 0].tolist(), ranked.scores[:, 0].tolist(), strict=True)
    for row, (best, probability) in zip(rows, bests, strict=True):
        assert row["probability"] == pytest.approx(probability, abs=1e-6)
        assert row["stranger_share"] is None
        assert row["reason"] != Reason.BELOW_THRESHOLD or probability < threshold
        assert row["person"] in (None, run.gallery.people[best])
    adapted = run.anew()
    assert adapted.photos_opened == 0 and adapted.album is not None


def test_of_the_forgotten_no_share_is_left(run):
    run()
    assert (run.out / "report.html").read_text("utf-8").count("data:image/webp") > 20
    named = [row["person"] == "P000" for row in run.rows()]
    forget_in_files(ForgottenOutput(run.out), "P000".__eq__, [])
    rows = run.rows()
    left = [row["stranger_share"] for row, was in zip(rows, named, strict=True) if was]
    assert left and set(left) == {None}


def test_nothing_is_measured_without_anybody_enrolled_or_any_face(run, tmp_path):
    nobody = run.gallery.without(np.ones(len(run.gallery.faces), bool))
    summary = run._replace(gallery=nobody)()
    assert (summary.album, summary.threshold, summary.identified) == (None, None, 0)
    empty = sim.write_album(tmp_path / "empty", ["", ""])
    summary = run._replace(out=tmp_path / "other")(photos=empty)
    assert (summary.album, summary.faces) == (None, 0)


def test_a_posted_photo_is_named_by_the_calibration_and_the_gallery_is_described_once(
    photos, people, release, monkeypatch
):
    made = []
    of_no_album = AlbumSearch.of_no_album
    monkeypatch.setattr(
        AlbumSearch, "of_no_album", lambda *given: made.append(1) or of_no_album(*given)
    )
    service = PhotoService(release, people.place)
    params = RequestParams.of({"answer": "names"})
    files = [posted(photos / f"{number:04d}.jpg") for number in range(24)]
    answers = service.answer(files, params)
    answers += service.answer(files[:1], RequestParams.of({"answer": "names", "budget": 0.5}))
    assert len(made) == 1
    names = [answer["faces"][0]["person"] for answer in answers[:24]]
    right = [f"P{number // 3:03d}" for number in range(24)]
    assert sum(map(str.__eq__, map(str, names), right)) >= 18
    assert set(names) <= {*right, None}
    assert answers[0]["threshold"] > answers[-1]["threshold"] > 0
