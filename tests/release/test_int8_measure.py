"""Int8 is offered if its loss on validation people is small, and used where it is faster."""

import re

import numpy as np
import pytest

from faceops.base.files import read_json_object, write_json
from faceops.cli.model_choice import choose_precision
from faceops.config.sections import Quantise
from faceops.gallery.storage import GALLERY_FILE
from faceops.release.bundle import int8_gain
from faceops.release.contract import read_release
from faceops.release.int8_measure import measure_int8, why_not

UNIT = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("people", "tar_int8", "allowed", "sentence"),
    [
        (400, 0.9985, 0.002, ""),
        (400, 0.9990, 0.0, ""),  # it gained
        (400, 0.9985, 0.0, "falls by 0.0005 .from 0.9990 to 0.9985. on 400 validation people"),
        (400, 0.9970, 0.002, r"must fall by less than quantise\.max_tar_loss = 0\.002"),
        (100, 0.9985, 0.002, "TAR at FAR 0.001 needs .* validation people, not 100"),
    ],
)
def test_it_is_offered_where_validation_people_lose_little(people, tar_int8, allowed, sentence):
    tar_float32 = 0.9989 if tar_int8 == 0.9990 else 0.9990
    measured = measure_int8(
        (np.tile(UNIT, (people, 1)), np.tile(UNIT, (people, 1))),
        (tar_float32, tar_int8),
        np.repeat(np.arange(people), 4).astype(str),
        Quantise(max_tar_loss=allowed),
        64,
    )
    assert measured.people == people and measured.photos == 4 * people
    reason = why_not(measured)
    if not sentence:
        assert reason == ""
    else:
        assert re.search(sentence, reason)


def test_cosines_are_of_a_crops_two_embeddings():
    turned = UNIT.copy()
    turned[0] = [0.6, 0.8, 0, 0]
    measured = measure_int8((UNIT, turned), (1, 1), np.array(list("aabb")), Quantise(), 8)
    assert measured.min_cosine == pytest.approx(0.6)
    assert measured.mean_cosine == pytest.approx(0.9)


def test_the_gain_is_measured_once_and_decides_for_a_new_gallery(
    int8_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path))
    assert 0.3 < int8_gain(int8_bundle) < 3  # in this fixture both are the same net
    (file,) = (tmp_path / "int8").iterdir()
    for gain, chosen in ((1.2, "float32"), (2.5, "int8")):
        write_json(file, read_json_object(file) | {"gain": gain})
        precision, why = choose_precision("auto", int8_bundle, tmp_path / "gallery")
        assert precision == chosen and ("2.5 times" in why) == (chosen == "int8")
    file.write_text("damaged")
    assert int8_gain(int8_bundle) < 3 and read_json_object(file)["gain"] > 0


def test_a_gallery_keeps_the_embedder_it_was_enrolled_with(int8_bundle, sface_bundle, tmp_path):
    release = read_release(int8_bundle)
    assert release.int8
    for contract, precision in (
        (release.contract_id, "float32"),
        (release.int8.contract_id, "int8"),
        ("of another release", "float32"),
    ):
        write_json(tmp_path / GALLERY_FILE, {"contract_id": contract})
        assert choose_precision("auto", int8_bundle, tmp_path) == (precision, "")
    assert choose_precision("auto", int8_bundle, None) == ("float32", "")
    assert choose_precision("int8", sface_bundle, tmp_path) == ("int8", "")  # loading refuses it


def test_a_release_without_int8_stays_float32(sface_bundle, tmp_path):
    assert int8_gain(sface_bundle) == 0
    assert choose_precision("auto", sface_bundle, tmp_path / "gallery") == ("float32", "")
