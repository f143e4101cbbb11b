"""The search finds planted bytes and names anywhere, in bounded memory, and no file breaks it."""

import base64
import io
import json
import os
import sqlite3
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.dataset.names import person_key
from faceops.identification.forget import cells, traces
from faceops.identification.forget.traces import Probes, mentions, search_traces

RNG = np.random.default_rng(7)
SECRET = RNG.bytes(512)
CHUNK = 1 << 18


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in smaller pieces, so that smaller files are enough."""
    for module in (traces, cells):
        monkeypatch.setattr(module, "CHUNK", CHUNK)


def is_ada(name: str) -> bool:
    return name.lower() == "ada"


def found_in(folder: Path, secrets: list[bytes] | None = None, what: str = "found") -> list[str]:
    secrets = [SECRET] if secrets is None else secrets
    done = search_traces([folder], is_ada, mentions(["ada"]), secrets)
    return [line.removeprefix(f"{folder}/") for line in getattr(done, what)]


@pytest.mark.parametrize("start", [0, 13, CHUNK - 20, CHUNK])
def test_a_probe_is_found_at_any_position(start):
    probe = RNG.bytes(48)
    content = bytearray(RNG.bytes(2 * CHUNK + 100))
    probes = Probes([*(RNG.bytes(48) for _ in range(2000)), probe])
    assert not probes.found_in(io.BytesIO(content))
    content[start : start + 48] = probe
    assert probes.found_in(io.BytesIO(content))


def test_short_contents_and_no_probes():
    assert not Probes([]).found_in(io.BytesIO(b"anything"))
    for size in (0, 47, 48):
        assert Probes([b"x" * 48]).found_in(io.BytesIO(b"x" * size)) is (size == 48)


@pytest.mark.parametrize("shift", range(3))
def test_a_secret_in_base64(tmp_path, shift):
    page = b"y" * shift + base64.b64encode(SECRET)
    (tmp_path / "report.html").write_bytes(page)
    assert found_in(tmp_path) == ["report.html: an embedding or picture"]
    assert found_in(tmp_path, [RNG.bytes(512)]) == []


def test_a_secret_in_compressed_cells_and_across_pages(tmp_path):
    floats = np.frombuffer(SECRET, "<f4").tolist()
    table = pa.table(
        {"a": [b"", SECRET + b"\0" * 4000], "b": pa.array([[], floats], pa.list_(pa.float32()))}
    )
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd")
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("CREATE TABLE t (blob BLOB, name TEXT)")
        for before in range(3000, 5000, 17):  # some lie across the end of a page
            db.execute("INSERT INTO t VALUES (?, 'x')", (b"\1" * before + SECRET,))
    assert [line for line in found_in(tmp_path) if ", in " in line] == [
        "s.sqlite: an embedding or picture, in t",
        "t.parquet: an embedding or picture, in a",
        "t.parquet: an embedding or picture, in b",
    ]


def test_a_secret_in_a_file_beside_one_of_the_same_name_and_size(tmp_path):
    content = bytearray(RNG.bytes(CHUNK + 5000))
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.bin").write_bytes(content)
    assert found_in(tmp_path) == []
    content[CHUNK + 100 : CHUNK + 100 + len(SECRET)] = SECRET
    (tmp_path / "b" / "x.bin").write_bytes(content)
    assert found_in(tmp_path) == ["b/x.bin: an embedding or picture"]
    (tmp_path / "a" / "x.bin").write_bytes(content)
    assert found_in(tmp_path) == [f"{one}/x.bin: an embedding or picture" for one in "ab"]


def test_pages_of_plain_values_hold_embeddings_whole(tmp_path):
    """Such columns are not decoded for the search: it finds what is in the file as it is."""
    rows = RNG.standard_normal((40, 250)).astype(np.float32)
    table = pa.table({"embedding": pa.array(list(rows), pa.list_(pa.float32()))})
    pq.write_table(
        table, tmp_path / "t.parquet", compression="none", use_dictionary=False,
        data_page_size=1000, write_batch_size=64,
    )  # fmt: skip
    content = (tmp_path / "t.parquet").read_bytes()
    assert all(row.tobytes() in content for row in rows)
    assert found_in(tmp_path, [rows[39].tobytes()]) == ["t.parquet: an embedding or picture"]


def test_names_in_every_kind_of_cell(tmp_path):
    pq.write_table(pa.table({"person": ["Ada", None, "Ben"]}), tmp_path / "a.parquet")
    aliased = pa.table({"n": [1]}).replace_schema_metadata({"a": json.dumps({"aliases": ["ADA"]})})
    pq.write_table(aliased, tmp_path / "aliases.parquet")
    (tmp_path / "b.csv").write_text("x,y\n'Ada,2\n")
    (tmp_path / "c.json").write_text(json.dumps({"people": {"ADA": 1}}))
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n{"a": ["ada"]}\n')
    with sqlite3.connect(tmp_path / "e.sqlite") as db:
        db.execute('CREATE TABLE "odd ""name" (n TEXT)')
        db.execute('INSERT INTO "odd ""name" VALUES (?)', ("Ada",))
    assert [line.split(":")[0] for line in found_in(tmp_path)] == [
        "a.parquet", "aliases.parquet", "b.csv", "c.json", "d.jsonl", "e.sqlite"
    ]  # fmt: skip


def test_names_in_copies_temporary_files_and_texts(tmp_path):
    pq.write_table(pa.table({"person": ["Ada", "Ben"]}), tmp_path / "a.parquet.bak")
    with sqlite3.connect(tmp_path / ".b.sqlite.tmp") as db:
        db.execute("CREATE TABLE t (n TEXT)")
        db.execute("INSERT INTO t VALUES ('Ada')")
    (tmp_path / "c.prom").write_text('faces{person="Ada"} 3\n' * 9)
    (tmp_path / "d.txt").write_text("x" * (CHUNK - 2) + " Ada", "utf-8")  # over a piece's end
    (tmp_path / "e.txt").write_text("Ada was here", "utf-16")
    (tmp_path / "f.html").write_text("A&#100;a", "utf-8")
    (tmp_path / "g.txt").write_text("Adam, nada")
    (tmp_path / "h.jpg").write_bytes(b"\xff\xd8 Ada")
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (elsewhere / "i.csv").write_text("Ada")
    (tmp_path / "z").mkdir()
    for link in ("runs", "runs2", "z/runs"):
        (tmp_path / link).symlink_to(elsewhere)
    assert sorted(line.split(":")[0] for line in found_in(tmp_path)) == [
        ".b.sqlite.tmp", "a.parquet.bak", "c.prom", "d.txt", "disk/i.csv", "e.txt", "f.html"
    ]  # fmt: skip
    assert found_in(tmp_path / "z") == ["runs/i.csv: the name, in a cell"]


def test_names_that_are_part_of_other_texts_are_told_apart(tmp_path):
    (tmp_path / "faces.csv").write_text("photo_path,person\nAda/1.jpg,Ben\n")
    (tmp_path / "report.html").write_text("<p>Ada/1.jpg</p>")
    with sqlite3.connect(tmp_path / "state.sqlite") as db:
        db.execute("CREATE TABLE files (path BLOB)")
        db.execute("INSERT INTO files VALUES (?)", (b"/photos/Ada/1.jpg",))
    assert found_in(tmp_path) == []
    assert found_in(tmp_path, what="elsewhere") == [
        "faces.csv: the name, as part of a cell",
        "report.html: the name, as part of its text",
        "state.sqlite: the name, as part of path",
    ]


def test_what_may_not_be_read_is_reported(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed.csv").touch()

    def refuse(module: object, name: str) -> None:
        def function(path: Path, **settings: bool) -> object:
            if Path(path).stem == "closed":
                raise PermissionError(13, "Permission denied", path)
            return original(path, **settings)

        original = getattr(module, name)
        monkeypatch.setattr(module, name, function)

    refuse(os, "scandir")
    refuse(Path, "stat")
    assert found_in(tmp_path, what="unlisted") == ["closed (Permission denied)"]
    (line,) = found_in(tmp_path)
    assert line.startswith("closed.csv: cannot be searched ([Errno 13]")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Ann", "Ann", True),
        ("Ann", "People|ANN/2020", True),
        ("Ann", "Annual, Joann", False),
        ("Ann Lee", "with ann_LEE.", True),
        ("Ann Lee", "Ann and Lee", False),
        ("Zoë", "Zoe\u0308 at sea", True),
        ("Straße", "STRASSE", True),
        ("张伟", "和张伟在海边", True),
        ("Анна", "Аннам", False),
        ("...", "...", True),  # in a gallery of an earlier version
    ],
)
def test_a_text_mentions_a_name_as_words(name, text, found):
    assert mentions([person_key(name)])(text) is found


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.sqlite"])
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00broken", b"PAR1 of no use PAR1", b"[" * 200_000, b"a," + b"b" * 200_000],
    ids=["no text", "parquet by name", "deep", "long cell"],
)
def test_a_foreign_file_is_a_finding_or_searched(tmp_path, name, content):
    (tmp_path / name).write_bytes(content + SECRET)
    secret, said = sorted(found_in(tmp_path))
    assert secret == f"{name}: an embedding or picture"
    assert said.startswith(f"{name}: cannot be searched (") and "\n" not in said


def test_a_large_file_does_not_fill_the_memory(tmp_path):
    with (tmp_path / "large.bin").open("wb") as file:
        for _ in range(16):
            file.write(RNG.bytes(CHUNK))
        file.write(SECRET)
    tracemalloc.start()
    assert found_in(tmp_path) == ["large.bin: an embedding or picture"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * CHUNK
