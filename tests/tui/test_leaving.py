"""Protects: the dashboard ends when it is left, whatever its threads are reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.sqlite.interrupts import interrupt_reads
from tests.tui.conftest import app_for, wait_for
from tests.tui.replay import Recording
from tests.tui.terminal.pty import dashboard

SOON_S = 2.0
"""A second, and as much again for a busy machine; what is read here has no end."""


@pytest.fixture(autouse=True)
def back_to_work() -> Iterator[None]:
    yield
    interrupt_reads(False)


async def test_leaving_ends_what_threads_read(database: Path) -> None:
    connect(database).close()
    begun = threading.Event()
    broken_off: list[str] = []

    def read() -> None:
        with Reader(database) as reader:
            reader._connection.create_function("begun", 0, begun.set)
            try:
                list(
                    reader.scan(
                        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + (begun() IS NULL) FROM n)"
                        " SELECT max(x) FROM n"
                    )
                )
            except StoreError as error:
                broken_off.append(str(error))

    app = app_for(database)
    async with app.run_test() as pilot:
        app.run_worker(read, thread=True, exit_on_error=False)
        await wait_for(pilot, begun.is_set)
        began = time.monotonic()
        app.exit()
        await wait_for(pilot, lambda: broken_off)
        assert time.monotonic() - began < SOON_S
    assert broken_off == [f"database {database} was not read to its end: the read was interrupted"]
    # The main thread has yet to write what was asked for on the way out.
    with Reader(database) as reader:
        counted = list(
            reader.scan(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000)"
                " SELECT max(x) FROM n"
            )
        )
    assert counted == [[(300000,)]]


@pytest.mark.parametrize("keys", ["qr", "qzRA/x"])
def test_keys_typed_behind_the_one_that_leaves_do_no_harm(
    keys: str, database: Path, finished: Recording
) -> None:
    """They opened screens whose feeds read for widgets that were no longer there, and it ended in a traceback."""
    with dashboard(database, finished.id) as terminal:
        terminal.wait_for("accepted draft")
        terminal.press(keys)
        assert terminal.wait() == 0, terminal.output().decode(errors="replace")[-2000:]
