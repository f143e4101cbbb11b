"""Schedules are in the machine's time zone, and hold through the change to summer time and back."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import tzlocal
import yaml

from faceops.base.errors import UsageError
from flows.schedule import local_timezone, next_times

slow = pytest.mark.slow  # Prefect's import


@pytest.mark.parametrize(
    ("setting", "name"),
    [("Europe/Berlin", "Europe/Berlin"), (":Asia/Kolkata", "Asia/Kolkata"), ("CET-1CEST", "")],
)
def test_the_deployments_get_the_machines_zone(repository, setting, name):
    content = yaml.safe_load((repository / "prefect.yaml").read_text("utf-8"))
    (step,) = content["build"]
    (script,) = step.values()
    for deployment in content["deployments"]:
        zones = {schedule["timezone"] for schedule in deployment["schedules"]}
        assert zones == {f"{{{{ {script['id']}.stdout }}}}"}
    done = subprocess.run(
        script["script"].replace("python", sys.executable, 1),
        shell=True,
        cwd=repository,
        env=os.environ | {"TZ": setting},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0 if name else 2, name)
    assert done.stderr.count("\n") == (not name)


def test_a_copied_localtime_has_no_name(monkeypatch):
    # What tzlocal returns for an /etc/localtime that is no link into the zones' folder.
    monkeypatch.setattr(tzlocal, "get_localzone", lambda: SimpleNamespace(key="local"))
    with pytest.raises(UsageError, match="no IANA name"):
        local_timezone()


@slow
@pytest.mark.parametrize(
    ("start", "hours"),
    [
        # 02:30 does not exist in the second of these nights.
        (datetime(2026, 3, 27, 12, tzinfo=UTC), ["01:30", "00:30", "00:30"]),
        # It comes twice.
        (datetime(2026, 10, 23, 12, tzinfo=UTC), ["00:30", "00:30", "01:30"]),
    ],
)
def test_every_day_has_one_run_when_the_clocks_change(start, hours):
    times = next_times("30 2 * * *", "Europe/Berlin", start)
    assert [time.date().day - start.day for time in times] == [1, 2, 3]
    assert [f"{time.astimezone(UTC):%H:%M}" for time in times] == hours


@slow
def test_a_wrong_zone_or_cron_line_is_refused():
    with pytest.raises(UsageError, match="no time zone Europe/Berlinn; give an IANA name"):
        next_times("0 3 * * *", "Europe/Berlinn")
    with pytest.raises(UsageError, match='--cron "0 25 \\* \\* \\*" is wrong'):
        next_times("0 25 * * *", "UTC")
