"""Protects: the write-ahead log stays small however long readers stay, and a long read costs the worker little."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from store import log_size
from store.check import check
from store.database import connect
from store.log_size import LogKeeper
from store.reader import Reader
from tests.store.samples import claimed_writer, random_rounds


def test_the_log_is_bounded_while_readers_stay_and_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_size, "LARGE", 1 << 20)
    connection, other = connect(path), connect(path)
    connection.execute("PRAGMA wal_autocheckpoint = 200")
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

    keeper = LogKeeper(path)
    threads = [threading.Thread(target=read) for _ in range(2)]
    largest = 0
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(path)) for _ in range(3)]
        for reader in readers:
            reader.sessions()
        for thread in threads:
            thread.start()
        for record in random_rounds(700, seed=1):
            writer.record_round(generation.id, record)
            if record.number % 50 == 0:
                keeper._next = 0.0
                keeper.tend(other)
                largest = max(largest, log.stat().st_size)
        done.set()
        for thread in threads:
            thread.join()
        keeper._next = 0.0
        assert log.stat().st_size < log_size.LARGE or keeper.tend(other)
    assert largest < 8 << 20
    assert check(connection) == []
    connection.close()
    other.close()


def test_somebody_who_reads_one_state_for_long_is_waited_for_ever_less_often(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_size, "LARGE", 1)
    monkeypatch.setattr(log_size, "PATIENCE_MS", 1)
    connection, other = connect(path), connect(path)
    writer = claimed_writer(connection, ["code"])
    keeper = LogKeeper(path)
    with Reader(path) as reader, reader.snapshot():
        reader.sessions()
        writer.set_stage("something to keep")
        between = []
        for _ in range(8):
            keeper._next = 0.0
            assert not keeper.tend(other)
            between.append(keeper._between)
    assert between == [2, 4, 8, 16, 32, 60, 60, 60]
    assert not keeper.tend(other)  # it is not time yet
    keeper._next = 0.0
    assert keeper.tend(other)
    assert path.with_name(path.name + "-wal").stat().st_size == 0
    assert other.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
    connection.close()
    other.close()
