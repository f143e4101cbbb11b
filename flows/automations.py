"""Alerts: automations on a Prefect server that report what went wrong, or did not happen.

python -m flows.automations --webhook https://hooks.slack.com/services/...
python -m flows.automations --email 'mailtos://user:password@mail.example.com?to=me@example.com'
python -m flows.automations --remove

Needs PREFECT_API_URL. A second call updates what the first one made. The addresses may also stand
in FACEOPS_WEBHOOK and FACEOPS_EMAIL, which keeps passwords out of the list of processes; Prefect
stores them encrypted.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.automations import Automation, EventTrigger, Posture, SendNotification
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from faceops.base.errors import FaceOpsError, UsageError
from flows.identify import DRIFT, UNREADABLE

BLOCK, _PREFIX = "faceops", "faceops: "  # names of the notification blocks and automations
LATE_MINUTES = 10
IDENTIFY_HOURS, REBUILD_HOURS = 26.0, 24.0 * 8  # a run every night, every week
_RUN = "prefect.flow-run."
_FLOW, _DEPLOYMENT = "related:flow:prefect.resource.id", "related:deployment:prefect.resource.id"

# Jinja templates, filled in by the server: `flow_run` is the run that the event is about.
_FOLDERS = (
    "{% if flow_run.parameters.photos_dir %}Photos: {{ flow_run.parameters.photos_dir }}\n"
    "Results: {{ flow_run.parameters.out }}\n{% endif %}"
    "{% if flow_run.parameters.root %}Repository: {{ flow_run.parameters.root }}\n{% endif %}"
)
_WHAT = (
    "What happened: {{ flow_run.state.message"
    '|replace("Flow run encountered an exception: ", "")|replace("FaceOpsError: ", "") }}\n'
)
_PAGE = "\nThe run: {{ flow_run.name }}{% if flow_run|ui_url %}, {{ flow_run|ui_url }}{% endif %}"
_OWN = "{{ event.payload.text }}" + _PAGE


def alerts(
    identify_hours: float, rebuild_hours: float, blocks: Sequence[UUID] = ()
) -> list[Automation]:
    """Return all alerts.

    Args:
        identify_hours, rebuild_hours: how long a flow may go without a completed run.
        blocks: ids of the notification blocks that each of them sends to.
    """

    def alert(name: str, trigger: EventTrigger, subject: str, body: str) -> Automation:
        actions = [
            SendNotification(block_document_id=block, subject=f"FaceOps: {subject}", body=body)
            for block in blocks
        ]
        return Automation(name=f"{_PREFIX}{name}", trigger=trigger, actions=actions)

    def runs(*states: str, flows: Sequence[str] = ("identify", "rebuild")) -> dict[str, Any]:
        of_flows = {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)}
        return {"expect": {_RUN + state for state in states}, "match_related": of_flows}

    def absent(flow: str, hours: float) -> Automation:
        # An event that stands in `after` and `expect` starts the time again: each completed run.
        # A deployment that has never completed a run is seen by its late or failed ones.
        trigger = EventTrigger(
            **runs("Completed", "Refused", flows=[flow]),
            after={_RUN + "*"},
            for_each={_FLOW, _DEPLOYMENT},
            posture=Posture.Proactive,
            within=timedelta(hours=hours),
        )
        body = (
            f"{_FOLDERS}What happened: no run of {flow} has been completed for {hours:g} hours.\n"
            "What to do: see that the worker (or the served flow) is running, and its log." + _PAGE
        )
        return alert(f"no completed {flow}", trigger, f"{flow} does not run", body)

    failed = EventTrigger(**runs("Failed", "Crashed", "TimedOut"))
    late = EventTrigger(
        **runs("Running", "Pending", "AwaitingConcurrencySlot", "Cancelled", "Completed"),
        after={_RUN + "Late"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=timedelta(minutes=LATE_MINUTES),
    )
    refused = EventTrigger(**runs("Refused"))
    unreadable = EventTrigger(expect={UNREADABLE})
    return [
        alert(
            "failed run",
            failed,
            "{{ flow.name }} failed",
            f"{_FOLDERS}{_WHAT}What to do: correct that; the next run continues where this one "
            "stopped. The earlier results are unchanged." + _PAGE,
        ),
        alert(
            "late run",
            late,
            "{{ flow.name }} does not start",
            f"{_FOLDERS}What happened: no worker has taken the scheduled run for {LATE_MINUTES} "
            "minutes.\nWhat to do: start `prefect worker start --pool faceops`, or the served flow."
            + _PAGE,
        ),
        absent("identify", identify_hours),
        absent("rebuild", rebuild_hours),
        alert(
            "refused release",
            refused,
            "the gate refused a release",
            f"{_FOLDERS}{_WHAT}What to do: compare the two versions in MLflow; the champion is "
            "unchanged." + _PAGE,
        ),
        alert("drift", EventTrigger(expect={DRIFT}), "drift", _OWN),
        alert("unreadable photos", unreadable, "many photos cannot be read", _OWN),
    ]


def notification_blocks(webhook: str, email: str) -> list[NotificationBlock]:
    """Return the blocks that send to these addresses; an empty address has none.

    Raises:
        UsageError: an address is wrong.
    """
    blocks: list[NotificationBlock] = []
    if webhook:
        try:
            url = httpx.URL(webhook)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("https", "http") or not url.host:
            raise UsageError("the webhook is not an address that begins with https:// or http://.")
        blocks.append(
            CustomWebhookNotificationBlock(
                name="FaceOps",
                url="{{url}}",
                # The field "text" is what Slack, Mattermost and Rocket.Chat show.
                json_data={"title": "{{subject}}", "text": "{{subject}}\n{{body}}"},
                secrets={"url": webhook},
            )
        )
    if email:
        from apprise import Apprise

        log = logging.getLogger("apprise")  # it writes addresses with their passwords
        log.addHandler(logging.NullHandler())
        log.propagate = False
        if email.startswith("mailto") and "format=" not in email:
            email += f"{'&' if '?' in email else '?'}format=text"  # HTML loses the line breaks
        if "://" not in email or not Apprise().add(email):
            raise UsageError(
                "the address for e-mail is not one that Apprise knows; see docs/monitoring.md."
            )
        # Prefect has no block for SMTP. This one passes any URL but Slack's own to Apprise.
        blocks.append(SlackWebhook(url=email))
    return blocks


def install(wanted: Sequence[Automation]) -> None:
    """Create or update an automation for each alert; a paused one stays paused."""
    for automation in wanted:
        if (existing := _existing(automation)) is not None:
            automation.id, automation.enabled = existing.id, existing.enabled
            automation.update()
        else:
            automation.create()


def remove(wanted: Sequence[Automation]) -> None:
    """Delete the automations."""
    for automation in wanted:
        if (existing := _existing(automation)) is not None:
            existing.delete()


def delete_blocks(except_for: Sequence[NotificationBlock] = ()) -> None:
    """Delete the blocks with their addresses."""
    for kind in (CustomWebhookNotificationBlock, SlackWebhook):
        if kind not in map(type, except_for):
            with suppress(ValueError):  # there is none
                kind.delete(BLOCK)


def _existing(wanted: Automation) -> Automation | None:
    try:
        return Automation.read(name=wanted.name)  # type: ignore[return-value]  # sync here
    except ValueError:
        return None


def main() -> int:
    """Install, test or remove the alerts."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.automations",
        description="Send alerts from the Prefect server of PREFECT_API_URL.",
    )
    env = os.environ.get
    text = "receives JSON with the fields title and text, as Slack and Mattermost do"
    parser.add_argument("--webhook", default=env("FACEOPS_WEBHOOK", ""), metavar="URL", help=text)
    text = "mailtos://USER:PASSWORD@HOST?to=ADDRESS, or another address of Apprise"
    parser.add_argument("--email", default=env("FACEOPS_EMAIL", ""), metavar="URL", help=text)
    for flow, default in (("identify", IDENTIFY_HOURS), ("rebuild", REBUILD_HOURS)):
        text = f"alert if no run of {flow} is completed for so long (default %(default)g)"
        parser.add_argument(f"--{flow}-hours", type=float, default=default, metavar="N", help=text)
    parser.add_argument("--test", action="store_true", help="also send a notification now")
    parser.add_argument("--remove", action="store_true", help="delete alerts and addresses")
    args = parser.parse_args()
    hours = (args.identify_hours, args.rebuild_hours)
    try:
        if not get_current_settings().api.url:
            raise UsageError(
                "alerts need a Prefect server: start one (make up) and set PREFECT_API_URL."
            )
        if not all(10 <= each * 3600 <= 366 * 24 * 3600 for each in hours):
            raise UsageError("--identify-hours and --rebuild-hours are from 10 seconds to a year.")
        blocks = [] if args.remove else notification_blocks(args.webhook, args.email)
        if not blocks and not args.remove:
            raise UsageError("give --webhook URL, --email URL or both.")
        with _as_sentence(
            "the Prefect server of PREFECT_API_URL did not take the alerts", "that it runs"
        ):
            ids = [block.save(BLOCK, overwrite=True) for block in blocks]
            wanted = alerts(*hours, ids)  # type: ignore[arg-type]  # ids: sync here
            remove(wanted) if args.remove else install(wanted)
            delete_blocks(except_for=blocks)  # an address that is no longer given
        with _as_sentence("the test notification could not be delivered", "the address"):
            for block in blocks if args.test else []:
                with block.raise_on_failure():
                    block.notify("Alerts arrive here.", "FaceOps: a test")  # type: ignore[unused-coroutine]
    except FaceOpsError as error:
        print(f"automations: {error}", file=sys.stderr)
        return error.exit_code
    names = ", ".join(automation.name.removeprefix(_PREFIX) for automation in wanted)
    print(f"alerts {'removed' if args.remove else 'on'}: {names}")
    return 0


@contextmanager
def _as_sentence(failed: str, check: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError, NotificationError) as error:
        reason = (getattr(error, "log", "") or str(error) or repr(error)).strip()
        if response := getattr(error, "response", None):  # the text shows the address, a secret
            reason = f"{response.status_code} {response.reason_phrase}"
        raise FaceOpsError(f"{failed} ({reason}); check {check}.") from None


if __name__ == "__main__":
    sys.exit(main())
