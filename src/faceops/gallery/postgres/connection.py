"""A connection to the tables of one gallery: transactions that are repeated, and the lock.

A gallery is a schema of its own, faceops_NAME, so rights, backups and VACUUM are of one gallery.
"""

import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from faceops.base.errors import (
    FaceOpsError,
    InUseError,
    NotPermittedError,
    ShortageError,
    UsageError,
    first_line,
)
from faceops.gallery.postgres.tables import MIGRATIONS

if TYPE_CHECKING:
    from psycopg import Connection

EXAMPLE = "postgresql://HOST/DATABASE?gallery=NAME"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,54}")
_SECRETS = {"password", "sslpassword"}
PATIENCE_S = 60.0  # how long a transaction is repeated while a server does not answer
FIRST_PATIENCE_S = 5.0  # as long as it has never answered
_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0)  # pauses between attempts; the last one is repeated
_TOLD_S = 1.0  # of these, the one of which users are told
# SQLSTATE: the connection was lost, the server stops or starts, has too many clients; deadlocks.
_TRANSIENT = re.compile(r"08...|57P0[123]|53300|40001|40P01")
_NO_TABLE = "42P01"  # a re-embedding has dropped it; a new transaction sees the next one
# What a server says that answers, but not yet; other FATAL messages are final.
_STARTING = re.compile("database system is|too many|terminating")
_LOCK_CLASS = 0x0FACE095  # of advisory locks; the other half of the key is from the schema's name
_LOG = logging.getLogger("faceops.gallery")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Address:
    shown: str  # a URL as --gallery takes it, without a password
    gallery: str  # the name among the galleries of the database
    connection: str = field(repr=False)  # the URL for libpq, with the password if the user gave one

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address of postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE?gallery=NAME.

        Everything but `gallery` is as libpq reads it; without it the name is "gallery".

        Raises UsageError: it is not such a URL.
        """
        wrong = f"--gallery takes a folder, or {EXAMPLE}"
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise UsageError(f"{text} is not an address ({error}); {wrong}.") from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise UsageError(f"{text} is not the address of a gallery; {wrong}.")
        login, at, host = parts.netloc.rpartition("@")
        if "@" in login or "@" in parts.path + parts.query or parts.fragment:
            raise UsageError(
                f"the address of the gallery has @, # or / in a password; write them as %40, %23 "
                f"and %2F, or give the password by PGPASSWORD or ~/.pgpass; {wrong}."
            )
        query = parse_qsl(parts.query, keep_blank_values=True)
        names = [value for key, value in query if key == "gallery"] or ["gallery"]
        if len(names) > 1 or not _NAME.fullmatch(names[0]):
            raise UsageError(
                f"{names[-1]!r} is not the name of a gallery in a database; use small letters, "
                f"digits and _, at most 55: {EXAMPLE}."
            )
        rest = [(key, value) for key, value in query if key != "gallery"]
        public = [("gallery", names[0]), *(pair for pair in rest if pair[0] not in _SECRETS)]

        def url(user: str, pairs: list[tuple[str, str]]) -> str:
            more = f"?{urlencode(pairs, safe='/', quote_via=quote)}" if pairs else ""
            return f"postgresql://{user}{at if user else ''}{host}{parts.path}{more}"

        return cls(url(login.partition(":")[0], public), names[0], url(login, rest))


class Database:
    """One connection, made at first use; may be shared by threads.

    Work that is given to `read` and `write` may be run again, in a new transaction and on a new
    connection: it changes nothing but the database.
    """

    def __init__(self, address: Address) -> None:
        self.address, self.schema = address, f"faceops_{address.gallery}"
        self.version = 0  # of the tables; 0 without any
        self._connection: Connection[Any] | None = None
        self._mutex = threading.RLock()
        self._is_locked = self._has_answered = False
        self._process = 0

    def read(self, work: Callable[["Connection[Any]"], _Result]) -> _Result:
        """Return what `work` returns, which sees one state. Raises: FaceOpsError."""
        return self._run(work, writes=False)

    def rows(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT, none while there are no tables. Raises: FaceOpsError."""
        return self.read(lambda db: db.execute(text, values).fetchall() if self.version else [])

    def write(self, work: Callable[["Connection[Any]"], _Result]) -> _Result:
        """Run `work` in one transaction, which happens once or not at all; make absent tables.

        Raises:
            NotPermittedError: the user may not write.
            FaceOpsError: as `read`.
        """
        return self._run(work, writes=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the gallery's lock, which the server releases when this process ends.

        Raises InUseError: another process has it.
        """
        with self._mutex:
            if self._is_locked:
                raise InUseError(f"{self.address.shown} is in use by this process; try it later.")
            self._run(self._take_lock, writes=False)
            self._is_locked = True
        try:
            yield
        finally:
            with self._mutex:
                self._is_locked = False
                with suppress(Exception):  # a lost connection has no lock
                    assert self._connection is not None
                    self._connection.execute(
                        "SELECT pg_advisory_unlock(%s, hashtext(%s))", self._key
                    )

    def outside(self, work: Callable[["Connection[Any]"], _Result]) -> _Result:
        """Run `work` once, outside a transaction, as VACUUM must be. Raises: FaceOpsError."""
        self.read(lambda db: None)
        with self._mutex:
            assert self._connection is not None
            try:
                return work(self._connection)
            except _psycopg().Error as error:
                raise self._reported(error) from None

    def _run(self, work: Callable[["Connection[Any]"], _Result], *, writes: bool) -> _Result:
        started, waits, outcome = time.monotonic(), iter(_WAITS_S), _Outcome[_Result]()
        psycopg, missing = _psycopg(), 0
        while True:
            try:
                with self._mutex:
                    db = self._connected()
                    if outcome.is_committed(db):
                        return outcome.result
                    if writes:
                        self._migrate(db)
                    with db.transaction():
                        if not writes:
                            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                        outcome.result = work(db)
                        if writes:
                            outcome.note(db)
                    return outcome.result
            except psycopg.Error as error:
                patience = PATIENCE_S if self._has_answered else FIRST_PATIENCE_S
                missing += error.sqlstate == _NO_TABLE
                may_pass = missing == 1 if error.sqlstate == _NO_TABLE else self._may_pass(error)
                if not may_pass or time.monotonic() - started > patience:
                    raise self._reported(error) from None
                wait = next(waits, _WAITS_S[-1])
                if wait == _TOLD_S:
                    text = "%s does not answer (%s): trying again for up to %g s"
                    _LOG.warning(text, self.address.shown, first_line(error), patience)
            time.sleep(wait)

    def _may_pass(self, error: Any) -> bool:
        if state := error.sqlstate:
            return _TRANSIENT.fullmatch(state) is not None
        if not isinstance(error, _psycopg().OperationalError | _psycopg().InterfaceError):
            return False
        return "FATAL" not in str(error) or _STARTING.search(str(error)) is not None

    def _connected(self) -> "Connection[Any]":
        """Return the connection, a new one if it was lost, with the lock if this process has it."""
        lost = 0
        if self._connection is not None and self._process == os.getpid():
            if not self._connection.closed:
                return self._connection
            lost = self._connection.info.backend_pid if self._is_locked else 0
        psycopg, name = _psycopg(), f"faceops {socket.gethostname()} {os.getpid()}"
        try:
            db = psycopg.connect(
                self.address.connection, autocommit=True, application_name=name, connect_timeout=10,
                client_encoding="utf8", keepalives_idle=30, keepalives_interval=10,
            )  # fmt: skip
        except psycopg.ProgrammingError as error:  # raised by libpq's reading of the URL
            raise UsageError(f"{self.address.shown} is wrong: {first_line(error)}.") from None
        self._has_answered, self._process = True, os.getpid()
        if self._is_locked:  # the server may not have noticed that the old connection is lost
            if lost:
                text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                db.execute(f"{text} WHERE pid=%s AND application_name=%s", (lost, name))
            self._take_lock(db)
        self._find_tables(db)
        self._connection = db
        return db

    @property
    def _key(self) -> tuple[int, str]:
        return _LOCK_CLASS, self.schema

    def _take_lock(self, db: "Connection[Any]") -> None:
        for wait in (0.1, 0.2, 0.5, 0):  # a process that was killed is noticed in a moment
            if value(db, "SELECT pg_try_advisory_lock(%s, hashtext(%s))", *self._key):
                return
            time.sleep(wait)
        holder = db.execute(
            "SELECT coalesce(nullif(application_name, ''), 'process ' || pid), client_addr, "
            "backend_start::timestamptz(0) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype='advisory' AND classid=%s AND objid::bigint=hashtext(%s)::bigint "
            "& 4294967295 AND granted",
            self._key,
        ).fetchone()
        who, where, since = holder or ("unknown", None, "")
        at = f" from {where}" if where else ""
        raise InUseError(
            f"{self.address.shown} is in use by another faceops process ({who}{at}, connected "
            f"since {since}); wait until it has ended."
        )

    def _find_tables(self, db: "Connection[Any]") -> None:
        """Set the search path and read the version. Raises: FaceOpsError for a later one."""
        of_extension = value(
            db,
            "SELECT n.nspname FROM pg_extension JOIN pg_namespace n ON n.oid=extnamespace "
            "WHERE extname='vector'",
        )
        path = f'"{self.schema}", "{of_extension or "public"}"'
        db.execute("SELECT set_config('search_path', %s, false)", (path,))
        self.version = 0
        if value(db, "SELECT to_regclass(%s)", f'"{self.schema}".version') is not None:
            self.version = value(db, "SELECT version FROM version") or 0
        if self.version > len(MIGRATIONS):
            raise FaceOpsError(
                f"{self.address.shown} has tables of version {self.version}, this faceops reads "
                f"{len(MIGRATIONS)}; use the faceops that wrote it."
            )
        if self.version:
            self._migrate(db)

    def _migrate(self, db: "Connection[Any]") -> None:
        """Bring the tables to the present version, or make them, in one transaction."""
        if self.version == len(MIGRATIONS):
            return
        with db.transaction():
            db.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK_CLASS + 1, self.schema)
            )
            self._find_or_make_schema(db)
            before = value(db, "SELECT max(version) FROM version") or 0
            for statement in (one for step in MIGRATIONS[before:] for one in step):
                db.execute(statement)
            db.execute("DELETE FROM version")
            db.execute("INSERT INTO version VALUES (%s)", (len(MIGRATIONS),))
        if before and before < len(MIGRATIONS):
            text = f"migrated its tables from version {before} to {len(MIGRATIONS)}"
            print(
                f"{self.address.shown}: {text}; earlier versions of faceops cannot use it.",
                file=sys.stderr,
            )
        self.version = len(MIGRATIONS)

    def _find_or_make_schema(self, db: "Connection[Any]") -> None:
        psycopg = _psycopg()
        user = db.info.user
        try:
            with db.transaction():
                db.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        except psycopg.Error as error:
            if _TRANSIENT.fullmatch(error.sqlstate or "08000"):
                raise
            raise NotPermittedError(
                f"{self.address.shown} lacks the extension pgvector ({first_line(error)}); the "
                "administrator must install it, and run in this database: CREATE EXTENSION vector;"
            ) from None
        if (encoding := value(db, "SHOW server_encoding")) != "UTF8":
            raise FaceOpsError(
                f"{self.address.shown} has the encoding {encoding}; make a database with UTF8."
            )
        found = value(db, "SELECT to_regnamespace(%s)", f'"{self.schema}"')
        try:
            with db.transaction():
                if not found:
                    db.execute(f'CREATE SCHEMA "{self.schema}"')
                db.execute("CREATE TABLE IF NOT EXISTS version (version int NOT NULL)")
        except psycopg.errors.InsufficientPrivilege:
            raise NotPermittedError(
                f"{self.address.shown} has no gallery {self.address.gallery}, and the user {user} "
                "may not make one; the administrator must run in this database: "
                f'CREATE SCHEMA "{self.schema}" AUTHORIZATION "{user}";'
            ) from None

    def _reported(self, error: Any) -> FaceOpsError:
        state, text = error.sqlstate or "", first_line(error)
        if state == "42501" or state == "25006":  # no right, or a read-only replica
            return NotPermittedError(
                f"{self.address.shown} cannot be changed by this user ({text}); the owner of "
                f"the schema {self.schema} can, or grants the rights."
            )
        if state.startswith("53") and state != "53300":
            return ShortageError(f"the server of {self.address.shown} lacks space ({text}).")
        if self._may_pass(error):
            return FaceOpsError(
                f"{self.address.shown} does not answer ({text}); see that the server runs and "
                "can be reached, and run it again: nothing was half-done."
            )
        return FaceOpsError(f"{self.address.shown} cannot be used ({text}); correct that.")


class _Outcome(Generic[_Result]):
    result: _Result

    def __init__(self) -> None:
        self._number: str | None = None

    def note(self, db: "Connection[Any]") -> None:
        """Note the number of the transaction that is about to be committed."""
        self._number = value(db, "SELECT pg_current_xact_id_if_assigned()::text")

    def is_committed(self, db: "Connection[Any]") -> bool:
        """Return whether it took place; waits while the server is still at it."""
        while self._number is not None:
            status = value(db, "SELECT pg_xact_status(%s::text::xid8)", self._number)
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(_WAITS_S[0])
        return False


def value(db: "Connection[Any]", text: str, *values: Any) -> Any:
    """Return the first column of the first row of a SELECT, None without a row."""
    row = db.execute(text, values).fetchone()
    return row[0] if row else None


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise FaceOpsError(
            "a gallery in PostgreSQL needs the package psycopg: pip install 'faceops[postgres]'"
        ) from None
    return psycopg
