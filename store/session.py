"""Opening the database: engine, transactions, schema version.

SQLite by the recipe that lets several processes write: explicit BEGIN IMMEDIATE, WAL, a busy timeout. PostgreSQL
by URL. Foreign exceptions become StoreError here.
"""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SchemaError, StoreError, StoreUnavailableError, UnstorableError
from dropscribe.core.installing import how_to_install
from dropscribe.core.mounts import filesystem_of, is_network
from dropscribe.core.passwords import mask
from dropscribe.store import sql
from dropscribe.store.lock_holder import holder

log = logging.getLogger(__name__)

HEAD = "0030"  # the newest migration; kept here so that a start without migrations never imports Alembic
LOCK_ID = 0x64726F70  # "drop": the advisory lock under which PostgreSQL's tables are made and migrated
READ_ONLY: dict[str, Any] = {"dropscribe_read_only": True}
BUSY_MS = 15_000  # how long a SQLite writer waits for another
SQLITE_KEPT = 40  # connections that stay open once they were needed at once: opening one takes as long as a request

# What PostgreSQL is given where neither the server nor the URL says otherwise. A process that is frozen or cut off
# in the middle of a transaction, which takes milliseconds, must not hold its rows' locks: nobody could take them over.
POSTGRESQL_LIMITS = {
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": f"{BUSY_MS}ms",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# The same on our side: a server that is cut off is noticed after 25 s, not after the kernel's two hours.
POSTGRESQL_CLIENT: dict[str, Any] = {
    "connect_timeout": 10,  # s
    "keepalives_idle": 10,  # s
    "keepalives_interval": 5,  # s
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms
    # Text comes back as text even from a database that was created without an encoding (SQL_ASCII).
    "client_encoding": "utf8",
}
Ask = Callable[..., Sequence[Any]]  # the rows that a `statement` finds, by what makes it and what is bound to it
COMPACT = partial(json.dumps, separators=(",", ":"))  # what columns hold as JSON


class Database:
    """A handle on the store. Safe to share between threads, never across a fork (`dispose` first)."""

    def __init__(self, url: str, *, where: str = "", at_once: bool = True) -> None:
        """`where` names this process in the audit trail. Opens no connection yet. Raises StoreError.

        Without `at_once`, the engine is made when it is needed, which only one thread may then do.
        """
        self.where = where or socket.gethostname()
        self._url = url
        if at_once:
            self.engine.dialect  # noqa: B018

    @cached_property
    def engine(self) -> sql.Engine:
        """SQLAlchemy's."""
        return _engine(self._url)

    @cached_property
    def _reader(self) -> sql.Engine:
        return self.engine.execution_options(**READ_ONLY)

    @property
    def is_sqlite(self) -> bool:
        """True for the one-machine store."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def begin(self) -> Iterator[sql.Connection]:
        """One writing transaction: commits at the end, rolls back on an exception.

        SQLite's begins here: with a listener for that, SQLAlchemy would look for others at every statement.

        Raises StoreUnavailableError when the database is out of reach or locked, UnstorableError when it cannot hold
        a value, StoreError otherwise; IntegrityError passes, since callers tell by it that another was first.
        """
        with self._translated(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sql.Connection]:
        """One reading transaction; on SQLite it waits for no writer. Raises like `begin`."""
        with self._translated(), self._reader.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """One reading transaction in which each `statement` is asked. Raises like `begin`."""
        with self.read() as connection:
            yield lambda make, **bound: connection.execute(make(), bound).all()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sql.exc.IntegrityError:
            raise
        except (sql.exc.DataError, OverflowError, UnicodeError) as error:  # some before the database sees them
            raise UnstorableError(
                f"database {self._name} cannot hold it: {self._cause(error)}",
                remedy="rename it or set its time again, or make the database in UTF-8",
            ) from error
        except sql.exc.SQLAlchemyError as error:
            if _interrupted(error):
                raise KeyboardInterrupt from error
            kind = StoreUnavailableError if _is_away(error) else StoreError
            raise kind(
                f"database {self._name}: {self._cause(error)}", remedy="`dropscribe doctor` checks it"
            ) from error

    def clock(self, *, writing: bool = False) -> float:
        """The database's time, in seconds since the epoch; with `writing` it is also tried whether one can write."""
        if writing:
            with self.begin() as connection:
                return float(connection.execute(_moment()).scalar_one())
        with self.asking() as ask:
            return float(ask(_moment)[0][0])

    def migrate(self) -> None:
        """Bring the tables to this version, one process at a time; cheap when they are."""
        if (found := self.version()) == HEAD:
            return
        if found:  # an empty store takes no time
            log.warning(
                "migrating the tables from version %s to %s; with a large store this takes a while", found, HEAD
            )
        with self.begin() as connection:
            _lock_schema(connection)
            _bring_to_head(connection)

    def version(self) -> str | None:
        """The migration the tables are at, or None for an empty database."""
        with self.read() as connection:
            return _version(connection)

    def is_current(self) -> bool:
        """False when another version of dropscribe has changed the tables."""
        return self.version() == HEAD

    def require_schema(self) -> None:
        """Raise SchemaError unless the tables are exactly this program's."""
        found = self.version()
        if found is None:
            raise SchemaError(
                f"the database {self._name} is empty: dropscribe has not run on it yet",
                remedy="start `dropscribe up FOLDER` or `dropscribe watch FOLDER`; they make its tables",
            )
        if found != HEAD:
            raise SchemaError(
                f"the tables of {self._name} are at version {found}, this program needs {HEAD}",
                remedy="install one version everywhere, the newer one; its `up` or `watch` migrates older tables",
            )

    def dispose(self) -> None:
        """Close every connection; a forked child calls it before its first use."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close every connection at the end of the process."""
        self.engine.dispose()

    @property
    def _name(self) -> str:
        return mask(self.engine.url.render_as_string(hide_password=False))

    def encoding(self) -> str:
        """What the database can hold of text, as it calls it: `UTF8`, `LATIN1`, `SQL_ASCII` (any bytes)."""
        with self.read() as connection:
            ask = sql.text("PRAGMA encoding" if self.is_sqlite else "SHOW server_encoding")
            return str(connection.execute(ask).scalar_one())

    def _cause(self, error: Exception) -> str:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if self.is_sqlite and "locked" in cause and (who := holder(Path(self.engine.url.database or ""))):
            cause += f" by {who}"
        return cause


def open_database(url: str, *, where: str = "", migrate: bool = True) -> Database:
    """Open the store and bring its tables to this version (or, with migrate=False, insist that they are).

    Raises StoreError for SQLite on a network filesystem, StoreUnavailableError when out of reach, SchemaError for
    tables of another version.
    """
    database = Database(url, where=where)
    try:
        if migrate:
            database.migrate()
        else:
            database.require_schema()
    except StoreError:
        database.close()
        raise
    return database


@sql.statement
def _moment() -> Any:
    """The database's time."""
    return sql.select(sql.now())


def _version(connection: sql.Connection) -> str | None:
    if not sql.inspect(connection).has_table(sql.VERSION.name):
        return None
    return connection.execute(sql.select(sql.VERSION.c.version_num)).scalar()


def _lock_schema(connection: sql.Connection) -> None:
    """Until the transaction ends; on SQLite it is the lock itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(sql.text("SET LOCAL lock_timeout = 0"))  # however long another one migrates
        connection.execute(sql.text("SELECT pg_advisory_xact_lock(:id)"), {"id": LOCK_ID})


def _bring_to_head(connection: sql.Connection) -> None:
    found = _version(connection)  # once more, as another process may have been first
    if found is None:
        sql.create(connection, HEAD)
    elif found != HEAD:
        from dropscribe.store import migrate

        migrate.upgrade(connection)


def _is_away(error: sql.exc.SQLAlchemyError) -> bool:
    """May the database come back?"""
    away = (sql.exc.OperationalError, sql.exc.InterfaceError, sql.exc.TimeoutError)
    return isinstance(error, away) or getattr(error, "connection_invalidated", False)


def _interrupted(error: BaseException | None) -> bool:
    """Did Ctrl-C come first? Where it breaks off the check of a pooled connection, psycopg's complaint hides it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _engine(url: str) -> sql.Engine:
    try:
        parsed = sql.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed.database or "", str(parsed))
        if parsed.get_backend_name() == "postgresql":
            return _postgresql(parsed)
    except sql.exc.ArgumentError as error:
        remedy = "example: postgresql://user@host/name (the address of a server begins with https://)"
        raise StoreError(f"{mask(url)} is not a database URL", remedy=remedy) from error
    except ModuleNotFoundError as error:
        raise StoreError(f"the database driver {error.name} is missing", remedy=how_to_install("postgres")) from error
    raise StoreError(f"{parsed.drivername} is not supported", remedy="use sqlite or postgresql")


def _postgresql(url: sql.URL) -> sql.Engine:
    chosen = {name: value for name, value in POSTGRESQL_CLIENT.items() if name not in url.query}
    engine = sql.create_engine(
        url, pool_pre_ping=True, pool_size=5, max_overflow=20, connect_args=chosen, json_serializer=COMPACT
    )
    sql.event.listen(engine, "connect", _postgresql_limits)
    return engine


def _postgresql_limits(connection: Any, _record: Any) -> None:
    query = "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s AND source = 'default'"
    with connection.cursor() as cursor:
        for name, value in POSTGRESQL_LIMITS.items():
            cursor.execute(query, (value, name))
    connection.commit()


def _sqlite(path: str, url: str) -> sql.Engine:
    folder = Path(path).absolute().parent
    with explained(OSError, StoreError, f"cannot create {folder}", remedy="set DROPSCRIBE_HOME elsewhere"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if is_network(kind := filesystem_of(folder)):
        raise StoreError(
            f"{path} lies on a network filesystem ({kind}), where SQLite loses data",
            remedy="set DROPSCRIBE_HOME to a local directory or DROPSCRIBE_DATABASE_URL to PostgreSQL",
        )
    timeout = {"timeout": BUSY_MS / 1000, "isolation_level": None}
    engine = sql.create_engine(url, pool_size=SQLITE_KEPT, connect_args=timeout, json_serializer=COMPACT)
    sql.event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _sqlite_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLite's own knows the letters of ASCII alone.
    connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # a job that was admitted survives a pulled plug
        "foreign_keys=ON",
        "secure_delete=ON",  # what is removed is overwritten, as recordings may have to be forgotten
        f"busy_timeout={BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def insert_all(connection: sql.Connection, into: sql.Table[Any], rows: Sequence[dict[str, Any]]) -> None:
    """INSERT many rows in few statements, of which each is answered before the next.

    psycopg sends many statements as one stream. PostgreSQL waits without any limit for the rest of a stream, and keeps
    its locks, where its sender was frozen.
    """
    if rows:
        connection.execute(_inserting(into), list(rows)).all()


@cache
def _inserting(into: sql.Table[Any]) -> Any:
    return sql.insert(into).returning(*into.primary_key.columns)


def insert_ignoring(connection: sql.Connection, into: sql.Table[Any]) -> Any:
    """An INSERT that leaves rows out that exist already (by any unique key)."""
    return insert_of_dialect(connection, into).on_conflict_do_nothing()


def insert_of_dialect(connection: sql.Connection, into: sql.Table[Any]) -> Any:
    """An INSERT that can say what becomes of rows that exist already (`on_conflict_...`)."""
    # Imported here, as one costs `dropscribe status` what the other would.
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_in_sqlite

        return insert_in_sqlite(into)
    from sqlalchemy.dialects.postgresql import insert as insert_in_postgresql

    return insert_in_postgresql(into)
