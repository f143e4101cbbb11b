"""An S3 server (moto's) in a process of its own, which tests can stop, start again and count."""

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

PAGE = 5  # objects in a page of a listing, so that a small folder has several
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "neverPrintedSecret0123456789abcdefghijkl",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class ObjectStoreServer:
    """The server; its objects live as long as the process."""

    def __init__(self, log: Path) -> None:
        environment = os.environ | CREDENTIALS | {"MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.object_store", str(log)],
            cwd=Path(__file__).parent.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = f"http://127.0.0.1:{self._answer()}"

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def tell(self, command: str) -> None:
        """Tell the process `start`, `stop` or `refuse PATTERN` (requests that match get 403)."""
        assert self._process.stdin
        print(command, file=self._process.stdin, flush=True)
        self._answer()

    def requests(self, pattern: str) -> list[str]:
        """Return the requests so far that match, such as "GET /bucket/key?x=y"."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if re.search(pattern, line)]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def files(address: str) -> Any:
    """Return fsspec's file system on the server at `address`, for tests to make objects."""
    import s3fs

    key, secret = CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
    return s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=address, use_listings_cache=False)


def main() -> None:
    """Serve until the process is killed."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = DomainDispatcherApplication(create_backend_app)
    refused = [""]

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        query = environ["QUERY_STRING"]
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' * bool(query)}{query}"
        with Path(sys.argv[1]).open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        if refused[0] and re.search(refused[0], line):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        return application(environ, start_response)

    server, port = None, 0
    for command in chain(["start\n"], iter(sys.stdin.readline, "")):
        if command == "stop\n" and server is not None:
            server.shutdown()
            server.server_close()
        elif command == "start\n":
            server = make_server("127.0.0.1", port, answer, threaded=True)
            port = server.port
            Thread(target=server.serve_forever, daemon=True).start()
        else:
            refused[0] = command.partition(" ")[2].strip()
        print(port, flush=True)


if __name__ == "__main__":
    main()
