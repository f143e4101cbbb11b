"""The input example is a small drawn portrait with a face in it."""

from faceops.faces.find_faces import find_in_photo
from faceops.release.served_interface import (
    ANSWERS,
    DEFAULTS,
    IMAGE,
    SIDE,
    example_photo,
    input_example,
    signature,
)
from faceops.serving import NAME


def test_the_example_photo_shows_one_face_and_is_small(bundle):
    photo = example_photo()
    assert len(photo) < 2000
    found = find_in_photo(NAME, bundle.face_finder(0), content=photo)
    assert found.photo.size == (SIDE, SIDE)
    (face,) = found.faces
    assert face.detection.score > 0.8


def test_signature_and_example_agree():
    rows, params = input_example()
    said = signature()
    assert list(rows.columns) == said.inputs.input_names() == [IMAGE]
    assert {param.name: param.default for param in said.params} == params == DEFAULTS
    assert params["answer"] in ANSWERS
