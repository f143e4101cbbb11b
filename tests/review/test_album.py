"""The album of the review page: what it lists, what decisions change, and that runs agree."""

from pathlib import Path

import pyarrow.parquet as pq

from faceops.review.album import Album


def test_an_album_shows_what_the_run_decided(opened: Album, work: Path) -> None:
    rows = pq.read_table(work / "found" / "faces.parquet").drop_columns("run_id")
    decided = opened.decided().rows
    assert decided is not None
    assert decided.drop_columns("run_id").to_pylist() == rows.to_pylist()


def test_every_list_of_the_album_can_be_read(opened: Album) -> None:
    album = opened
    piles = album.piles()
    assert all(len(album.pile(pile.person)) == min(pile.faces, 60) for pile in piles)
    cards = [card for card in album.people_cards() if card.photos]
    assert cards
    for card in cards:
        faces = album.person(card.person)
        assert {face.person for face in faces} == {card.shown}
        assert album.why(faces[0].key).person == card.person
        assert album.photo(faces[0].photo_id).faces
    for group in album.groups():
        assert len(album.group(group.name)) == group.faces
    assert album.doctor()
    assert album.search(cards[0].shown[:3]).people
