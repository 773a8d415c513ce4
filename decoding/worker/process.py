"""The process around a run: it claims its session, shows signs of life, obeys signals, and says how the run ended.

The database is its only channel. It claims the session before anything slow is imported, so that a
view shows life at once, and it never reads from or writes to a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from pathlib import Path
from typing import Protocol

from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.worker.control import Control, LimitReached, Refused, Stopped
from spectui.decoding.worker.heartbeat import LOCK_SECONDS, heartbeat
from spectui.decoding.worker.log import log_to
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sqlite.file_system import COST, network_kind
from spectui.store.writing.patience import PatientWriter
from spectui.store.writing.writer import SessionWriter

log = logging.getLogger("spectui.worker")


class Work(Protocol):
    """The work of a run: decodes or fetches every pending prompt of a claimed session."""

    def __call__(
        self,
        writer: SessionWriter,
        control: Control,
        before: SessionSummary,
        files: dict[str, dict[str, str]],
        *,
        force: bool,
    ) -> None:
        """Do it. Raises `Stopped` when the run is to end before that."""


def run(work: Work, database: Path, session_id: int, log_file: str = "", *, force: bool = False) -> int:
    """Run the session to its end, from its first unfinished prompt; returns the exit code.

    A session that has recorded rounds goes on only with the models and versions it began with, or with
    `force`. Raises `StoreError` when it cannot be claimed.
    """
    control = Control()
    db = connect(database, create=False, timeout=LOCK_SECONDS)
    reader = Reader(db)
    before = reader.session(session_id)
    writer = PatientWriter(db, session_id, database, control.wait, control.note_trouble)
    writer.claim()
    if log_file:
        writer.describe(log_path=log_file)
    network = network_kind(database.resolve())
    if network is not None:
        writer.add_event("database", f"it lies on {network}: {COST}")
    with control.idle.watched(), heartbeat(database, session_id, writer):
        try:
            try:
                work(writer, control, before, reader.model_files(session_id), force=force)
                control.note_standstills(writer, "at the end of the run")
            finally:
                control.end()
            writer.set_status("finished")
        except LimitReached as limit:
            writer.add_event("limit", f"reached {limit}")
            writer.set_status("stopped")
        except Stopped:
            writer.set_status("stopped")
        except Refused as refusal:
            log.error("%s", refusal)
            writer.add_event("refused", str(refusal))
            writer.set_status(before.status, error=str(refusal))
            return 1
        except StoreError as error:
            kept = writer.rescue()
            where = f"; what was recorded is in {kept}" if kept else ""
            # Nothing can be recorded any more; say so where it can still be read.
            log.error("%s%s", error, where)
            status = "stopped" if control.stopping or writer.stop_seen else "failed"
            with contextlib.suppress(StoreError):
                SessionWriter(db, session_id).set_status(status, error=str(error))
            return 1
        except DecodingError as error:
            writer.set_status("failed", error=str(error))
            log.error("%s", error)
            return 1
        except Exception as error:
            log.exception("the run failed")
            writer.set_status("failed", error=one_line(error))
            return 1
    return 0


def command_line() -> argparse.ArgumentParser:
    """The options that every worker has."""
    parser = argparse.ArgumentParser(prog="spectui worker", description=__doc__)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--session", type=int, required=True)
    parser.add_argument("--log", default="")
    parser.add_argument("--force", action="store_true")
    return parser


def main(work: Work, arguments: argparse.Namespace | None = None) -> int:
    """Run the session that the command line names; returns the exit code."""
    arguments = arguments or command_line().parse_args()
    log_to(arguments.log)
    try:
        return run(work, arguments.db, arguments.session, arguments.log, force=arguments.force)
    except StoreError as error:
        log.error("%s", error)
        return 1
