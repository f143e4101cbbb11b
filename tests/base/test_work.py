"""The number of CPUs respects affinity and the limits of containers; progress is told in a log."""

import math
import os

import pytest

from faceops.base import work


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),  # docker run --cpus 2
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("0::/\n", {"cpu.max": "what"}, 64),
        ("", {}, 64),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, own, files, expected):
    (tmp_path / "own").write_text(own)
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content + "\n")
    monkeypatch.setattr(work, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(work, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert work.usable_cpus() == expected


def test_affinity_counts(monkeypatch):
    monkeypatch.setattr(work, "_cgroup_limits", lambda: [math.inf])
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert work.usable_cpus() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert work.usable_cpus() == 64


def test_no_code_counts_the_cpus_of_the_machine(repository):
    """os.cpu_count() starts 64 workers in a container that may use two CPUs."""
    folders = ("src", "flows", "benchmarks", "experiments")
    files = [path for folder in folders for path in (repository / folder).rglob("*.py")]
    users = [path.name for path in files if "cpu_count" in path.read_text("utf-8")]
    assert users == ["work.py"]


def test_progress_in_a_log_is_lines_and_starts_no_thread(monkeypatch, capsys):
    monkeypatch.setattr(work, "tqdm", None)  # making a bar starts a thread
    monkeypatch.setattr(work, "LOG_EVERY_S", 1e-9)
    heard: list[tuple[str, float]] = []
    with work.progress_to(lambda *told: heard.append(told)):
        assert list(work.track("ab", "read")) == ["a", "b"]
    assert heard == [("read", 0.5), ("read", 1.0)]
    assert "read: 2/2 (" in capsys.readouterr().err
