"""The recording of a watched server: its samples, ever fewer of them with age, and its events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from spectui.store.clock import now
from spectui.store.database import Connection, raw
from spectui.store.labels import fresh_name
from spectui.store.samples import SCALARS, Sample, to_row
from spectui.store.sources import WATCH, Server
from spectui.store.sqlite.transactions import transaction
from spectui.store.writing.session_row import SessionRow, storable

KEEP = ((600.0, 10.0), (7200.0, 60.0))
"""Age in seconds from which on one sample is kept for so many seconds, the last one."""
THIN_EVERY_S = 60.0
DAY_S = 86400.0
KEEP_DAYS = 30.0
"""Age from which on samples are dropped, unless asked for otherwise."""
_COLUMNS = ", ".join(("session_id", "segment", *SCALARS, "more"))
_ADD = f"INSERT OR REPLACE INTO sample ({_COLUMNS}) VALUES ({', '.join('?' * (len(SCALARS) + 3))})"


def create_watch(db: Connection, server: Server, group: str, *, plain: bool = False) -> int:
    """Insert a session without prompts that holds the samples of a server; returns its id.

    Sessions of servers that are watched together have the same `group`; `plain` marks the reference of the others.
    """
    connection = raw(db)
    with transaction(connection):
        names = {name for (name,) in connection.execute("SELECT name FROM session")}
        session_id = connection.execute(
            "INSERT INTO session (name, status, created_at, config, target, drafter, tree, prompt_count, source,"
            " server) VALUES (?, 'starting', ?, ?, ?, ?, '', 0, ?, ?)",
            (
                fresh_name(names),
                now(),
                json.dumps({"watch": {"group": group, "reference": plain}}),
                storable(server.model or server.url),
                server.method,
                WATCH,
                server.to_json(),
            ),
        ).lastrowid
    assert session_id is not None
    return session_id


class SampleWriter(SessionRow):
    """Writes the samples and events of one watched server."""

    def __init__(self, db: Connection, session_id: int, keep_days: float = KEEP_DAYS) -> None:
        super().__init__(db, session_id)
        self._keep_s = keep_days * DAY_S
        self._thinned_at = 0.0
        """Time of the newest sample when they were thinned last."""

    def add(self, samples: Sequence[tuple[int, Sample]], events: Sequence[tuple[float, str, str]]) -> None:
        """Keep samples with their segments, and events: time, kind, text. A sign of life, too."""
        with self._lock, transaction(self._connection):
            self._connection.executemany(
                _ADD, [(self._session_id, segment, *to_row(sample)) for segment, sample in samples]
            )
            self._connection.executemany(
                "INSERT INTO event (session_id, at, kind, text) VALUES (?, ?, ?, ?)",
                [(self._session_id, _iso(at), kind, storable(text)) for at, kind, text in events],
            )
            self._connection.execute(
                "UPDATE session SET heartbeat_at = ? WHERE id = ?", (now(), self._session_id)
            )
            latest = max((sample.at for _, sample in samples), default=0.0)
            due = latest - self._thinned_at >= THIN_EVERY_S
            if due:
                self._thin(latest)
        if due:  # and committed
            self._thinned_at = latest
        self._truncate_log()

    def describe_server(self, server: Server, drafts: str) -> None:
        """Write what has become known of the server; `drafts` is the length of its drafts in words."""
        self._update(
            server=server.to_json(), target=server.model or server.url, drafter=server.method, tree=drafts
        )

    def _thin(self, latest: float) -> None:
        """Drop all but the last sample of each step; what was thinned before is not looked at again."""
        for age, step in KEEP:
            end = latest - age
            begin = self._thinned_at - age - step
            self._connection.execute(
                # Segments follow each other in time: the sample before and the one after tell all, by the index.
                "DELETE FROM sample WHERE session_id = ?1 AND at >= ?2 AND at < ?3 AND ("
                " SELECT later.segment = sample.segment"
                " AND CAST(later.at / ?4 AS INTEGER) = CAST(sample.at / ?4 AS INTEGER)"
                " FROM sample AS later WHERE later.session_id = ?1 AND later.at > sample.at"
                " ORDER BY later.at LIMIT 1) AND ("
                " SELECT earlier.segment = sample.segment"
                " FROM sample AS earlier WHERE earlier.session_id = ?1 AND earlier.at < sample.at"
                " ORDER BY earlier.at DESC LIMIT 1)",
                (self._session_id, begin, end // step * step, step),
            )
        self._connection.execute(
            "DELETE FROM sample WHERE session_id = ? AND at < ?", (self._session_id, latest - self._keep_s)
        )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
