"""Protects: the write-ahead log stays small however long readers stay, and a long read costs the worker little."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.sqlite import log as log_size
from spectui.store.sqlite.log import LogKeeper
from tests.store.samples import claimed_writer, random_rounds


def test_the_log_is_bounded_while_readers_stay_and_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_size, "LARGE", 1 << 20)
    connection = connect(path)
    writer = claimed_writer(connection, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    log = path.with_name(path.name + "-wal")
    done = threading.Event()

    def read() -> None:
        """Without a pause, so that at nearly every moment somebody reads."""
        with Reader(path) as reader:
            while not done.is_set():
                reader.rounds(generation.id, after=max(reader.generation(generation.id).round_count - 300, 0))

    threads = [threading.Thread(target=read) for _ in range(2)]
    largest = written = 0
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(path)) for _ in range(3)]
        for reader in readers:
            reader.sessions()
        for thread in threads:
            thread.start()
        for record in random_rounds(700, seed=1):
            before = log.stat().st_size
            writer.record_round(generation.id, record)
            now = log.stat().st_size
            largest, written = max(largest, now), written + max(now - before, 0)
        done.set()
        for thread in threads:
            thread.join()
    assert written > 8 << 20
    assert largest < 4 << 20
    assert check(connection) == []
    connection.close()


def test_heartbeats_alone_keep_the_log_small_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_size, "LARGE", 50_000)
    connection = connect(path)
    writer = claimed_writer(connection, ["code"])
    with Reader(path) as reader:
        for _ in range(60):
            writer.heartbeat(1.0, 1)
            reader.sessions()
            assert path.with_name(path.name + "-wal").stat().st_size < 60_000
    connection.close()


def test_somebody_who_reads_one_state_for_long_is_waited_for_a_few_times_each_time_the_log_doubles(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_size, "LARGE", 100_000)
    monkeypatch.setattr(log_size, "SECONDS", 3600.0)
    patience: list[int] = []
    real = log_size._begin_anew

    def attempt(connection: sqlite3.Connection, patience_ms: int) -> bool:
        patience.append(patience_ms)
        return real(connection, min(patience_ms, 1))

    monkeypatch.setattr(log_size, "_begin_anew", attempt)
    connection = connect(path)
    writer = claimed_writer(connection, ["code"])
    log = path.with_name(path.name + "-wal")
    keeper = LogKeeper(str(path))
    with Reader(path) as reader, reader.snapshot():
        reader.sessions()
        number = 0
        while log.stat().st_size < 1_600_000:  # four times twice as large
            number += 1
            writer.set_stage(f"something to keep, {number}")
            assert not keeper.truncate_if_large(connection)
        assert patience == sorted(patience)
        assert log_size.PATIENCE_MS <= patience[0] < patience[-1] == log_size.LONGEST_MS
        assert 10 <= len(patience) <= 14
    keeper._next = 0.0  # time for an attempt that waits for nobody
    assert keeper.truncate_if_large(connection)
    assert patience[-1] == 0
    assert log.stat().st_size == 0
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
    connection.close()
