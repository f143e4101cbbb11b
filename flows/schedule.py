"""The time zone and the next times of a cron schedule.

python -m flows.schedule      # the name of this machine's time zone, for prefect.yaml
"""

import asyncio
import sys
import warnings
from datetime import datetime
from zoneinfo import ZoneInfoNotFoundError

from faceops.base.errors import UsageError

SHOWN_TIMES = 3


def local_timezone() -> str:
    """Return the IANA name of this machine's time zone, of TZ, else of /etc/localtime.

    Raises:
        UsageError: TZ is no IANA name, or /etc/localtime is a copy of a zone without its name.
    """
    import tzlocal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is configured: that is UTC
        try:
            name = str(getattr(tzlocal.get_localzone(), "key", "UTC"))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            name = ""
    if name in ("", "local"):  # "local" is tzlocal's word for a file without a name
        raise UsageError(
            "this machine's time zone has no IANA name (TZ, /etc/localtime); name it by --timezone "
            "or TZ, e.g. Europe/Berlin."
        )
    return name


def next_times(cron: str, timezone: str, start: datetime | None = None) -> list[datetime]:
    """Return the next three times of a schedule, as Prefect's server computes them.

    Args:
        start: the earliest time; None for now.

    Raises:
        UsageError: `cron` is no schedule, or there is no such time zone.
    """
    from prefect.server.schemas.schedules import CronSchedule

    try:
        schedule = CronSchedule(cron=cron, timezone="UTC")
    except ValueError:
        raise UsageError(
            f'--cron "{cron}" is wrong; give minute, hour, day, month and weekday, such as '
            '"0 3 * * *".'
        ) from None
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValueError:
        raise UsageError(
            f"there is no time zone {timezone}; give an IANA name, such as Europe/Berlin or UTC."
        ) from None
    return list(asyncio.run(schedule.get_dates(SHOWN_TIMES, start=start)))


if __name__ == "__main__":
    try:
        print(local_timezone())
    except UsageError as error:
        print(f"schedule: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
