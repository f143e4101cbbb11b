"""The demo compares an album's records with its ground truth."""

from pathlib import Path

from demo import AlbumScore, score_album

TRUTH = """photo,x,y,width,height,person
a.jpg,0,0,100,100,Ada_Lind
a.jpg,200,0,100,100,Bo_Falk
a.jpg,400,0,100,100,
b.jpg,0,0,50,50,Ada_Lind
"""


def score(tmp_path: Path, rows: str) -> AlbumScore:
    (tmp_path / "album_truth.csv").write_text(TRUTH)
    path = tmp_path / "faces.csv"
    path.write_text("photo_path,x,y,width,height,person\n" + rows)
    return score_album(path, tmp_path / "album_truth.csv")


def test_names_are_counted_as_correct_wrong_and_strangers_named(tmp_path):
    rows = (
        "a.jpg,5,5,100,100,Ada Lind\n"  # correct, in another spelling
        "a.jpg,205,0,100,100,Ada Lind\n"  # wrong
        "a.jpg,400,5,90,100,Bo Falk\n"  # a stranger named
        "b.jpg,300,300,50,50,Bo Falk\n"  # a name where no face is
        "b.jpg,,,,,\n"  # a row without a face
    )
    counts = score(tmp_path, rows)
    assert (counts.known, counts.strangers) == (3, 1)
    assert (counts.known_found, counts.strangers_found) == (2, 1)
    assert (counts.correct, counts.wrong, counts.strangers_named) == (1, 1, 1)
    assert (counts.faces_without_truth, counts.named_without_truth) == (1, 1)


def test_a_found_face_serves_one_true_face(tmp_path):
    assert score(tmp_path, "a.jpg,100,0,100,100,Ada Lind\n").known_found == 0
    counts = score(tmp_path, "a.jpg,0,0,100,100,\n")
    assert (counts.known_found, counts.correct, counts.wrong) == (1, 0, 0)
