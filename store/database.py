"""Opening of database files: ours are brought up to date, others are refused and left as they are."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from spectui.store.errors import StoreError
from spectui.store.files import private_folder
from spectui.store.schema.check import examine
from spectui.store.schema.steps import APPLICATION_ID
from spectui.store.sqlite.file_system import network_kind
from spectui.store.sqlite.interrupts import interruptible
from spectui.store.sqlite.transactions import explained

if TYPE_CHECKING:
    from sqlite_utils import Database

Connection: TypeAlias = Union["Database", sqlite3.Connection]
"""A database for the functions of `store`: either kind of opened file."""

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68
_HEADER_BYTES = 100
_inspected: set[tuple[Path, int, int]] = set()
"""Path, device and inode of files whose first bytes this process has read: closing a file drops all POSIX locks of the
process on it, so a second read would take away those of its open connections, and the next process to close the
database would then delete the log under them."""
_inspecting = threading.Lock()

_SHORT_WAIT_MS = 200
_MOST_BYTES = 1 << 28
"""The largest value that is read: a file may hold larger ones, but none that spectui wrote."""

_WAL_PAGES = 2000
"""Pages in the write-ahead log before they go to the file: 8 MB, a few hundred rounds."""


def open_database(
    path: Path | str, *, create: bool = True, read_only: bool = False, timeout: float = 10.0
) -> Database:
    """Open a database file as a sqlite-utils `Database`; see `connect`."""
    from sqlite_utils import Database

    connection = connect(path, create=create, read_only=read_only, timeout=timeout)
    return Database(connection, recursive_triggers=False, execute_plugins=False)


def connect(
    path: Path | str, *, create: bool = True, read_only: bool = False, timeout: float = 10.0
) -> sqlite3.Connection:
    """Open a database file; created (0600, in a 0700 folder) or upgraded first where that is needed.

    Does not import sqlite-utils (0.2 s) unless a schema has to be written. `timeout` is how many
    seconds to wait for another process's write. The connection commits each statement unless a
    transaction is begun, and may go from thread to thread.

    Raises `StoreError` when the file is missing (and not to be created), of a newer spectui, of
    another program, no database, unreadable, or, unless `read_only`, unwritable; it is then untouched.
    """
    try:
        path = Path(path).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{path} cannot be the path of a database ({error}); give another --db") from error
    with explained(path):
        size = _inspect(path)
        if size is None:
            if read_only or not create:
                raise StoreError(
                    f"there is no database at {path}; 'spectui run' makes one, --db names another"
                )
            _create(path, timeout)
            _inspected.add(_identity(path, path.stat()))
        elif not read_only and not os.access(path, os.W_OK):
            raise StoreError(
                f"database {path} cannot be written; check its permissions, or give another --db"
            )
        if size == 0 or _has_pending(path, timeout):
            if read_only:
                raise StoreError(
                    f"database {path} is of an older spectui; open it once with 'spectui --db {path}'"
                )
            _upgrade(path, timeout)
        return _open_for_reading(path, timeout) if read_only else _open(path, timeout)


def raw(db: Connection) -> sqlite3.Connection:
    """The SQLite connection of either kind of opened file."""
    return db if isinstance(db, sqlite3.Connection) else db.conn


def _inspect(path: Path) -> int | None:
    """Size of the file, None when there is none; refuses files whose first bytes are not of spectui.

    The bytes are read without SQLite, which would leave its own files beside a foreign database; once
    per file and process, see `_inspected`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a file; give the path of a database file")
        with _inspecting:
            if _identity(path, status) in _inspected:
                return status.st_size
            with path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
            _refuse_foreign(path, header)
            _refuse_links(path)
            _inspected.add(_identity(path, status))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"database {path} cannot be read: {error.strerror}; give another --db") from error
    return status.st_size


def _identity(path: Path, status: os.stat_result) -> tuple[Path, int, int]:
    return path, status.st_dev, status.st_ino


def _refuse_foreign(path: Path, header: bytes) -> None:
    if header and not header.startswith(_MAGIC):
        raise StoreError(f"{path} is not a database; give another --db")
    identity = int.from_bytes(header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
    if header and identity != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another program; give another --db")


def _refuse_links(path: Path) -> None:
    """Refuses links in the place of SQLite's own files: SQLite follows them, and writes what they lead to."""
    for suffix in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(beside.lstat().st_mode):
                raise StoreError(
                    f"{beside} is not a regular file, but SQLite would write to it; remove it, or give another --db"
                )


def _has_pending(path: Path, timeout: float) -> bool:
    """True when the file lacks migrations; refuses a file with objects that migrations do not make."""
    with closing(_connect(path, _read_mode(path), timeout)) as connection:
        return _examine(connection, path, timeout)


def _read_mode(path: Path) -> str:
    """The mode to open a file in so that nothing of it changes and nothing is left behind."""
    if _is_not_empty(path, "-journal"):
        # Half a transaction of a process that died, or of one at work: to be taken back before it is read.
        return "mode=rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "mode=ro"
    # Without a log there is no writer: `immutable` then reads without leaving files behind.
    return "mode=ro" if _is_not_empty(path, "-wal") else "mode=ro&immutable=1"


def _examine(connection: sqlite3.Connection, path: Path, timeout: float) -> bool:
    """`store.schema.check.examine`, waiting for the owner of a lock so that Ctrl-C is heard meanwhile."""
    last = time.monotonic() + timeout
    connection.execute(f"PRAGMA busy_timeout = {_SHORT_WAIT_MS}").fetchall()
    while True:
        try:
            lacks_steps = examine(connection, path)
            break
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() >= last:
                raise
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * timeout)}").fetchall()
    return lacks_steps


def _create(path: Path, timeout: float) -> None:
    """Make the file in one step: built under another name, then linked, unless someone else was faster."""
    try:
        private_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StoreError(f"database {path} cannot be created: {error.strerror}; give another --db") from error
    draft = Path(name)
    try:
        _upgrade(draft, timeout)
        with suppress(FileExistsError):
            _link(draft, path)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links, where two creators at once cannot be told apart.
        if not path.exists():
            draft.replace(path)


def _upgrade(path: Path, timeout: float) -> None:
    from spectui.store.schema.migrations import migrate

    if path.stat().st_size == 0:
        path.chmod(0o600)
    with closing(_connect(path, "mode=rw", timeout)) as connection:
        # A step writes the schema itself; the file's own SQL stays switched off.
        _defend(connection, False)
        migrate(connection)
        _defend(connection, True)
        if network_kind(path) is None:
            _use_write_ahead_log(connection, timeout)


def _use_write_ahead_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Turns write-ahead logging on. SQLite does not wait for a lock, so that two who open a new file would collide."""
    last = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() >= last:
                raise
            time.sleep(0.01)
        else:
            return


def _open(path: Path, timeout: float) -> sqlite3.Connection:
    connection = _connect(path, "mode=rw", timeout)
    try:
        # The first of these reads the file, so that what is wrong with it shows here. NORMAL can lose
        # the last rounds when the power goes, never when a process dies, and never tears a round; that
        # is so with a write-ahead log alone.
        if network_kind(path) is None:
            _use_write_ahead_log(connection, timeout)
            synchronous = "NORMAL"
        else:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            synchronous = "FULL"
        examine(connection, path)
        for pragma in (
            f"synchronous = {synchronous}",
            "foreign_keys = ON",
            f"wal_autocheckpoint = {_WAL_PAGES}",
            "journal_size_limit = 67108864",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_for_reading(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that cannot write rows, also from places where nothing can be written at all."""
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        # Opened for writing, so that the last to close can tidy up the log, but not allowed to.
        attempts = ["mode=rw"]
    elif path.with_name(path.name + "-wal").exists():
        attempts = ["mode=ro"] if _is_not_empty(path, "-wal") else ["mode=ro", "mode=ro&immutable=1"]
    else:
        attempts = ["mode=ro&immutable=1"]
    for last, how in enumerate(attempts, 1 - len(attempts)):
        connection = _connect(path, how, timeout)
        try:
            connection.execute("PRAGMA query_only = ON")
            _examine(connection, path, timeout)
            return connection
        except BaseException as error:
            connection.close()
            if last < 0 and isinstance(error, sqlite3.OperationalError):
                continue
            raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _is_not_empty(path: Path, suffix: str) -> bool:
    """True when SQLite's own file beside the database exists and is not empty."""
    try:
        return path.with_name(path.name + suffix).stat().st_size > 0
    except OSError:
        return False


def _connect(path: Path, how: str, timeout: float) -> sqlite3.Connection:
    """A connection that runs no SQL but ours and can be interrupted. Nothing has been read yet."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?{how}", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        interruptible(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        connection.execute("PRAGMA trusted_schema = OFF")
        if sys.version_info >= (3, 12):
            _defend(connection, True)
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_VIEW, False)
    except BaseException:
        connection.close()
        raise
    return connection


def _defend(connection: sqlite3.Connection, on: bool) -> None:
    """Let nothing write the schema's own table, or let it; Python before 3.12 cannot say so."""
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, on)
