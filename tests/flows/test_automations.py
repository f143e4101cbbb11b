"""Alerts: what goes wrong arrives as a webhook and as a mail: where, what, and what to do."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from tests.flows.receivers import mail_receiver, webhook_receiver

pytestmark = pytest.mark.slow  # Prefect's import


@pytest.fixture
def api(prefect_server: str) -> Iterator[str]:
    """The address of a Prefect server that this process uses."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield prefect_server


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    from flows.automations import main

    monkeypatch.setattr(sys, "argv", ["automations", *arguments])
    return main()


def test_failed_refused_and_absent_runs_and_events_are_reported(api, monkeypatch, capsys):
    from prefect import flow
    from prefect.automations import Automation
    from prefect.blocks.notifications import SlackWebhook
    from prefect.states import Completed

    from flows.identify import emit_alerts, identify_folder

    @flow(name="rebuild")
    def refused(root: str = "/repository") -> object:
        return Completed(name="Refused", message="TAR fell from .98 to .91.")

    @flow(name="identify")
    def drifting(photos_dir: str, out: str) -> None:
        drift = {"what": "quality", "level": "major", "advice": "the faces are poorer"}
        calm = {"what": "similarity", "level": "none", "advice": ""}
        reasons = {"unreadable": 4, "empty": 1, "below_threshold": 90}
        summary = {"reasons": reasons, "photos": 100, "photos_folder": photos_dir}
        emit_alerts(summary | {"drift": [calm]}, Path(out))  # 5 of 100: no event
        emit_alerts(summary | {"photos": 99, "drift": [calm, drift]}, Path(out))

    with webhook_receiver() as (web, hooks), mail_receiver() as (smtp, mails):
        hook, mail = f"{web}/", f"mailto://127.0.0.1:{smtp}?to=me@example.com"
        monkeypatch.setenv("FACEOPS_EMAIL", mail + "&from=faceops@example.com")
        hours = ("--identify-hours", "0.003", "--test")
        assert run(monkeypatch, "--webhook", f"{hook}refused/sekret", *hours) == 1
        error = capsys.readouterr().err
        assert "(404 Not Found); check the address." in error and "sekret" not in error
        before = Automation.read(name="faceops: drift").id
        Automation.read(name="faceops: late run").disable()
        assert run(monkeypatch, "--webhook", hook, *hours) == 0
        assert not Automation.read(name="faceops: late run").enabled  # it was paused
        assert [one["title"] for one in (*hooks, *mails)] == ["FaceOps: a test"] * 2
        assert "alerts on: failed run, late run, " in capsys.readouterr().out
        with pytest.raises(FaceOpsError, match="was absent"):
            identify_folder(photos_dir="/mnt/share/my photos", out="found", patience_s=0.1)
        refused()
        drifting("/mnt/p", "/found")
        for received in (hooks, mails):
            text = received.wait_for("FaceOps: identify failed", 30)["text"]
            assert "Photos: /mnt/share/my photos\nResults: found\nWhat happened: /mnt/" in text
            assert "0.1 s; connect the disk or share." in text
        for title, part in [
            ("the gate refused a release", "What happened: TAR fell from .98 to .91.\nWhat to do:"),
            ("drift", "Results: /found\nDrift in quality (major): the faces are poorer"),
            ("many photos cannot be read", "What happened: 5 of 99 photos are empty or damaged"),
            ("identify does not run", "no run of identify has been completed for 0.003 hours"),
        ]:
            assert part in hooks.wait_for(f"FaceOps: {title}", 40)["text"]

        # Again without e-mail: the same automation, and the address is gone.
        monkeypatch.delenv("FACEOPS_EMAIL")
        assert run(monkeypatch, "--webhook", hook) == 0
        assert Automation.read(name="faceops: drift").id == before
        with pytest.raises(ValueError, match="Unable to find block"):
            SlackWebhook.load("faceops")
        assert run(monkeypatch, "--remove") == 0
        with pytest.raises(ValueError, match="not found"):
            Automation.read(name="faceops: drift")


def test_a_late_run_is_reported_when_nothing_takes_it_for_ten_minutes():
    from flows.automations import alerts

    (late,) = [one.trigger for one in alerts(26, 192) if one.name == "faceops: late run"]
    assert late.after == {"prefect.flow-run.Late"} and late.posture.name == "Proactive"
    assert late.within.total_seconds() == 600
    assert late.expect >= {"prefect.flow-run.Running", "prefect.flow-run.AwaitingConcurrencySlot"}


@pytest.mark.parametrize(
    ("arguments", "server", "code", "said"),
    [
        (["--webhook", "https://x"], "", 2, "alerts need a Prefect server"),
        ([], "http://127.0.0.1:9/api", 2, "give --webhook URL, --email URL or both"),
        (["--identify-hours", "nan"], "http://127.0.0.1:9/api", 2, "from 10 seconds to a year"),
        (["--webhook", "ftp://x"], "http://127.0.0.1:9/api", 2, "begins with https://"),
        (["--webhook", "http://x:y"], "http://127.0.0.1:9/api", 2, "begins with https://"),
        (["--email", "mailto://u:sekret@"], "http://127.0.0.1:9/api", 2, "not one that Apprise"),
        (["--webhook", "http://x"], "http://127.0.0.1:9/api", 1, "check that it runs"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, server, code, said, monkeypatch, capsys):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.delenv("FACEOPS_EMAIL", raising=False)
    with temporary_settings({PREFECT_API_URL: server or None}):
        assert run(monkeypatch, *arguments) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "sekret" not in error
