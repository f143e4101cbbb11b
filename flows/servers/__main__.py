"""The MLflow and Prefect servers of this repository, on this machine.

python -m flows.servers up        # start both, wait until they answer (make up)
python -m flows.servers status
python -m flows.servers down      # stop both (make down)

MLFLOW_PORT (5000) and PREFECT_PORT (4200) choose the ports. Both listen on 127.0.0.1 only, and ask
nobody who they are. `up` starts what does not run and leaves alone what does. PID files, logs and
Prefect's records lie in .servers/.
"""

import argparse
import shlex
import sys
from pathlib import Path

from faceops.base.errors import FaceOpsError
from flows.servers.definition import Server, define_servers
from flows.servers.lifecycle import answers, running, start_servers, stop_servers

ROOT = Path(__file__).resolve().parent.parent.parent

NEXT = """
Point a shell at both, then deploy prefect.yaml and let a worker wait for its schedules:
  {mlflow}
  {prefect}
  eval "$(python -W ignore -m faceops.base.analytics)"
  prefect work-pool create faceops --type process
  prefect --no-prompt deploy --all
  prefect worker start --pool faceops"""


def up(root: Path, servers: list[Server]) -> int:
    """Start both and say where they are."""
    started = start_servers(root, servers)
    exports = {}
    for server in servers:
        record = running(root, server)
        assert record is not None
        state = "started" if server.name in started else "runs already"
        print(f"{server.title} {state}: {record.base} (pid {record.pid})")
        exports[server.name] = f"export {server.variable}={shlex.quote(record.base + server.api)}"
    print(NEXT.format(**exports))
    return 0


def status(root: Path, servers: list[Server]) -> int:
    """Say of each whether it runs; the exit code is 1 unless all do and answer."""
    well = True
    for server in servers:
        record = running(root, server)
        answering = record is not None and answers(record.base, server.health)
        well &= answering
        if record is None:
            print(f"{server.title} does not run")
        else:
            state = "answers" if answering else "runs, but does not answer"
            print(f"{server.title} {state}: {record.base} (pid {record.pid})")
    return 0 if well else 1


def down(root: Path, servers: list[Server]) -> int:
    """Stop both."""
    stopped = stop_servers(root, servers)
    for server in servers:
        print(f"{server.title} {'stopped' if server.name in stopped else 'does not run'}")
    return 0


def main() -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = {"up": up, "status": status, "down": down}
    parser.add_argument("command", choices=commands)
    args = parser.parse_args()
    try:
        return commands[args.command](ROOT, define_servers(ROOT))
    except FaceOpsError as error:
        print(f"servers: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
