"""An album's records held against its truth."""

from pathlib import Path

from faceops.evaluation.album_score import overlap, score_album

TRUTH = """photo,x,y,width,height,person
a.jpg,0,0,100,100,Ada_Lind
a.jpg,200,0,100,100,Bo_Falk
a.jpg,400,0,100,100,
b.jpg,0,0,50,50,Ada_Lind
"""


def found(tmp_path: Path, rows: str) -> Path:
    (tmp_path / "album_truth.csv").write_text(TRUTH)
    path = tmp_path / "faces.csv"
    path.write_text("photo_path,x,y,width,height,person\n" + rows)
    return path


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == 50 / 150
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == 0


def test_names_are_counted_as_correct_wrong_and_strangers_named(tmp_path: Path) -> None:
    rows = (
        "a.jpg,5,5,100,100,Ada Lind\n"  # correct, in another spelling
        "a.jpg,205,0,100,100,Ada Lind\n"  # wrong
        "a.jpg,400,5,90,100,Bo Falk\n"  # a stranger named
        "b.jpg,300,300,50,50,Bo Falk\n"  # a name where no face is
        "b.jpg,,,,,\n"  # a row without a face
    )
    score = score_album(found(tmp_path, rows), tmp_path)
    assert (score.known, score.strangers) == (3, 1)
    assert (score.known_found, score.strangers_found) == (2, 1)
    assert (score.correct, score.wrong, score.strangers_named) == (1, 1, 1)
    assert (score.faces_without_truth, score.named_without_truth) == (1, 1)


def test_a_found_face_serves_one_true_face(tmp_path: Path) -> None:
    score = score_album(found(tmp_path, "a.jpg,100,0,100,100,Ada Lind\n"), tmp_path)
    assert score.known_found == 0
    score = score_album(found(tmp_path, "a.jpg,0,0,100,100,\n"), tmp_path)
    assert (score.known_found, score.correct, score.wrong) == (1, 0, 0)
