"""The search finds planted bytes and names anywhere, in bounded memory, and no file breaks it."""

import base64
import io
import json
import sqlite3
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.identification.forget.traces import CHUNK, Probes, search_traces

RNG = np.random.default_rng(7)
SECRET = RNG.bytes(512)


def is_ada(name: str) -> bool:
    return name.lower() == "ada"


def found_in(folder: Path, secrets: list[bytes] | None = None) -> list[str]:
    found = search_traces([folder], is_ada, [SECRET] if secrets is None else secrets).found
    return [line.removeprefix(f"{folder}/") for line in found]


@pytest.mark.parametrize("start", [0, 13, CHUNK - 20, CHUNK])
def test_a_probe_is_found_at_any_position(start: int) -> None:
    probe = RNG.bytes(48)
    content = bytearray(RNG.bytes(2 * CHUNK + 100))
    probes = Probes([*(RNG.bytes(48) for _ in range(2000)), probe])
    assert not probes.found_in(io.BytesIO(content))
    content[start : start + 48] = probe
    assert probes.found_in(io.BytesIO(content))


@pytest.mark.parametrize(
    ("probes", "content", "found"),
    [
        ([], b"anything", False),
        ([b"x" * 48], b"", False),
        ([b"x" * 48], b"x" * 47, False),
        ([b"x" * 48], b"x" * 48, True),
    ],
)
def test_short_contents_and_no_probes(probes: list[bytes], content: bytes, found: bool) -> None:
    assert Probes(probes).found_in(io.BytesIO(content)) is found


@pytest.mark.parametrize("shift", range(3))
def test_a_secret_in_base64(tmp_path: Path, shift: int) -> None:
    page = b"y" * shift + base64.b64encode(SECRET)
    (tmp_path / "report.html").write_bytes(page)
    assert found_in(tmp_path) == ["report.html: an embedding or picture"]
    assert found_in(tmp_path, [RNG.bytes(512)]) == []


def test_a_secret_in_compressed_cells_and_across_pages(tmp_path: Path) -> None:
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


def test_names_in_every_kind_of_cell(tmp_path: Path) -> None:
    pq.write_table(pa.table({"person": ["Ada", None, "Ben"]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("x,y\n'Ada,2\n")
    (tmp_path / "c.json").write_text(json.dumps({"people": {"ADA": 1}}))
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n{"a": ["ada"]}\n')
    with sqlite3.connect(tmp_path / "e.sqlite") as db:
        db.execute('CREATE TABLE "odd ""name" (n TEXT)')
        db.execute('INSERT INTO "odd ""name" VALUES (?)', ("Ada",))
    assert [line.split(":")[0] for line in found_in(tmp_path)] == [
        "a.parquet", "b.csv", "c.json", "d.jsonl", "e.sqlite"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.sqlite"])
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00broken", b"PAR1 of no use PAR1", b"[" * 200_000, b"a," + b"b" * 200_000],
    ids=["no text", "parquet by name", "deep", "long cell"],
)
def test_a_foreign_file_is_a_finding_or_searched(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content + SECRET)
    found = found_in(tmp_path)
    assert f"{name}: an embedding or picture" in found
    rest = [line for line in found if line != f"{name}: an embedding or picture"]
    assert len(rest) == 1 and rest[0].startswith(f"{name}: cannot be searched (")
    assert "\n" not in rest[0]


def test_a_large_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        for _ in range(16):
            file.write(RNG.bytes(CHUNK))
        file.write(SECRET)
    tracemalloc.start()
    assert found_in(tmp_path) == ["large.bin: an embedding or picture"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * CHUNK
