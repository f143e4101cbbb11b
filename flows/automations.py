"""Alerts: automations on a Prefect server that report what went wrong, or did not happen.

python -m flows.automations --webhook https://hooks.slack.com/services/...
python -m flows.automations --email 'mailtos://user:password@mail.example.com?to=me@example.com'
python -m flows.automations --remove

Needs PREFECT_API_URL. A second call updates what the first one made. The addresses may also stand
in FACEOPS_WEBHOOK and FACEOPS_EMAIL, which keeps passwords out of the list of processes; Prefect
stores them encrypted.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from prefect.automations import Automation, EventTrigger, Posture, SendNotification
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from faceops.base.errors import FaceOpsError, UsageError
from flows.identify import DRIFT, UNREADABLE

BLOCK = "faceops"  # the name of the notification blocks
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


@dataclass(frozen=True)
class Alert:
    """One automation: when it fires, and what it says.

    Attributes:
        name: of the automation, after "faceops: ".
        trigger: of the events.
        subject, body: templates of the notification.
    """

    name: str
    trigger: EventTrigger
    subject: str
    body: str


def alerts(identify_hours: float, rebuild_hours: float) -> list[Alert]:
    """Return all alerts.

    Args:
        identify_hours, rebuild_hours: how long a flow may go without a completed run.
    """

    def runs(*states: str, flows: Sequence[str] = ("identify", "rebuild")) -> dict[str, Any]:
        of_flows = {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)}
        return {"expect": {_RUN + state for state in states}, "match_related": of_flows}

    def absent(flow: str, hours: float) -> Alert:
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
        return Alert(f"no completed {flow}", trigger, f"FaceOps: {flow} does not run", body)

    late = EventTrigger(
        **runs("Running", "Pending", "AwaitingConcurrencySlot", "Cancelled", "Completed"),
        after={_RUN + "Late"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=timedelta(minutes=LATE_MINUTES),
    )
    return [
        Alert(
            "failed run",
            EventTrigger(**runs("Failed", "Crashed", "TimedOut")),
            "FaceOps: {{ flow.name }} failed",
            f"{_FOLDERS}{_WHAT}What to do: correct that; the next run continues where this one "
            "stopped. The earlier results are unchanged." + _PAGE,
        ),
        Alert(
            "late run",
            late,
            "FaceOps: {{ flow.name }} does not start",
            f"{_FOLDERS}What happened: no worker has taken the scheduled run for {LATE_MINUTES} "
            "minutes.\nWhat to do: start `prefect worker start --pool faceops`, or the served flow."
            + _PAGE,
        ),
        absent("identify", identify_hours),
        absent("rebuild", rebuild_hours),
        Alert(
            "refused release",
            EventTrigger(**runs("Refused")),
            "FaceOps: the gate refused a release",
            f"{_FOLDERS}{_WHAT}What to do: compare the two versions in MLflow; the champion is "
            "unchanged." + _PAGE,
        ),
        Alert("drift", EventTrigger(expect={DRIFT}), "FaceOps: drift", _OWN),
        Alert(
            "unreadable photos",
            EventTrigger(expect={UNREADABLE}),
            "FaceOps: many photos cannot be read",
            _OWN,
        ),
    ]


def notification_blocks(webhook: str, email: str) -> list[NotificationBlock]:
    """Return the blocks that send to these addresses; an empty address has none.

    Raises:
        UsageError: an address is wrong.
    """
    blocks: list[NotificationBlock] = []
    if webhook and not webhook.startswith(("https://", "http://")):
        raise UsageError("the webhook must begin with https:// or http://.")
    if webhook:
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

        if email.startswith("mailto") and "format=" not in email:
            email += f"{'&' if '?' in email else '?'}format=text"  # HTML loses the line breaks
        if "://" not in email or not Apprise().add(email):
            raise UsageError(
                "the address for e-mail is not one that Apprise knows; see docs/monitoring.md."
            )
        # Prefect has no block for SMTP. This one passes any URL but Slack's own to Apprise.
        blocks.append(SlackWebhook(url=email))
    return blocks


def install(blocks: Sequence[NotificationBlock], wanted: Sequence[Alert]) -> None:
    """Save the blocks, and create or update an automation for each alert; each sends to all."""
    ids = [block.save(BLOCK, overwrite=True) for block in blocks]
    for alert in wanted:
        actions = [
            SendNotification(block_document_id=id_, subject=alert.subject, body=alert.body)
            for id_ in ids
        ]
        automation = Automation(name=_name(alert), trigger=alert.trigger, actions=actions)
        if (existing := _existing(alert)) is not None:
            automation.id = existing.id
            automation.update()
        else:
            automation.create()
    _delete_blocks(except_for=blocks)  # an address that is no longer given


def remove(wanted: Sequence[Alert]) -> None:
    """Delete the automations, and the blocks with their addresses."""
    for alert in wanted:
        if (existing := _existing(alert)) is not None:
            existing.delete()
    _delete_blocks()


def _delete_blocks(except_for: Sequence[NotificationBlock] = ()) -> None:
    for kind in (CustomWebhookNotificationBlock, SlackWebhook):
        if kind not in map(type, except_for):
            with suppress(ValueError):  # there is none
                kind.delete(BLOCK)


def _name(alert: Alert) -> str:
    return f"faceops: {alert.name}"


def _existing(alert: Alert) -> Automation | None:
    try:
        return Automation.read(name=_name(alert))  # type: ignore[return-value]  # sync here
    except ValueError:
        return None


def main() -> int:
    """Install, test or remove the alerts."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.automations",
        description="Send alerts from the Prefect server of PREFECT_API_URL.",
    )
    parser.add_argument(
        "--webhook",
        default=os.environ.get("FACEOPS_WEBHOOK", ""),
        metavar="URL",
        help="receives JSON with the fields title and text, as Slack and Mattermost do",
    )
    parser.add_argument(
        "--email",
        default=os.environ.get("FACEOPS_EMAIL", ""),
        metavar="URL",
        help="mailtos://USER:PASSWORD@HOST?to=ADDRESS, or another address of Apprise",
    )
    parser.add_argument(
        "--identify-hours",
        type=float,
        default=IDENTIFY_HOURS,
        metavar="HOURS",
        help="alert if no identify run is completed for so long (default %(default)g)",
    )
    parser.add_argument(
        "--rebuild-hours", type=float, default=REBUILD_HOURS, metavar="HOURS", help="(%(default)g)"
    )
    parser.add_argument("--test", action="store_true", help="also send a notification now")
    parser.add_argument("--remove", action="store_true", help="delete alerts and addresses")
    args = parser.parse_args()
    try:
        if not get_current_settings().api.url:
            raise UsageError(
                "alerts need a Prefect server: start one (make up) and set PREFECT_API_URL."
            )
        if min(args.identify_hours, args.rebuild_hours) * 3600 < 10:
            raise UsageError("--identify-hours and --rebuild-hours are at least 10 seconds.")
        wanted = alerts(args.identify_hours, args.rebuild_hours)
        blocks = notification_blocks(args.webhook, args.email)
        if not blocks and not args.remove:
            raise UsageError("give --webhook URL, --email URL or both.")
        with _as_sentence("the Prefect server of PREFECT_API_URL did not take it", "that it runs"):
            if args.remove:
                remove(wanted)
            else:
                install(blocks, wanted)
        with _as_sentence("the test notification could not be delivered", "the address"):
            for block in blocks if args.test else []:
                with block.raise_on_failure():
                    block.notify("Alerts arrive here.", "FaceOps: a test")  # type: ignore[unused-coroutine]
    except FaceOpsError as error:
        print(f"automations: {error}", file=sys.stderr)
        return error.exit_code
    done = "removed" if args.remove else "on"
    print(f"alerts {done}: {', '.join(alert.name for alert in wanted)}")
    return 0


@contextmanager
def _as_sentence(failed: str, check: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError, NotificationError) as error:
        reason = (getattr(error, "log", "") or str(error) or repr(error)).strip()
        raise FaceOpsError(f"{failed} ({reason}); check {check}.") from None


if __name__ == "__main__":
    sys.exit(main())
