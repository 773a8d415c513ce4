"""Protects: writers of different sessions, and readers, work on one file at once."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from tests.store.processes import child, hear, say
from tests.store.samples import claimed_writer, make_round, random_rounds


def test_two_processes_write_two_sessions_at_once(path: Path) -> None:
    connect(path).close()
    with ExitStack() as stack:
        children = [stack.enter_context(child("record_some", path)) for _ in range(2)]
        for process in children:
            hear(process, "ready")
        for process in children:
            say(process)
        reader = stack.enter_context(Reader(path))
        for process in children:
            # A reader in between sees whole rounds, and tasks that agree with their histograms.
            for number in (50, 150, 300):
                hear(process, str(number))
                for session in reader.sessions():
                    for figures in reader.figures(session.id).values():
                        assert sum(figures.lengths.values()) == figures.rounds
                        assert (
                            sum(d.nodes for d in figures.depths.values())
                            == figures.nodes
                            == 14 * figures.rounds
                        )
        assert [process.wait() for process in children] == [0, 0]
        assert sorted(session.rounds for session in reader.sessions()) == [300, 300]
    connection = connect(path)
    assert check(connection) == []
    connection.close()


def test_threads_may_share_a_writer_and_a_reader(path: Path) -> None:
    connection = connect(path)
    writer = claimed_writer(connection, ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    done = threading.Event()
    failures: list[Exception] = []

    def beat() -> None:
        while not done.is_set():
            try:
                writer.heartbeat(50.0, 1_000_000)
                writer.take_commands()
                reader.session(1)
            except StoreError as error:
                failures.append(error)
                return

    with Reader(path) as reader:
        threads = [threading.Thread(target=beat) for _ in range(2)]
        for thread in threads:
            thread.start()
        for record in random_rounds(200, seed=1):
            writer.record_round(generation.id, record)
            reader.figures(1)
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert check(connection) == []
    connection.close()


def test_a_reader_sees_that_something_changed_only_when_it_did(path: Path) -> None:
    connection = connect(path)
    writer = claimed_writer(connection, ["code"])
    (generation,) = writer.pending_generations()
    with Reader(path) as reader:
        assert reader.changed()
        assert not reader.changed()
        writer.start_generation(generation.id)
        assert reader.changed()
        assert not reader.changed()
        writer.record_round(generation.id, make_round())
        assert reader.changed()
        assert reader.rounds(generation.id, after=0)[0].number == 1
        assert not reader.changed()
    connection.close()


def test_a_database_locked_for_too_long_is_said_in_one_line(path: Path) -> None:
    holder = connect(path)
    writer = claimed_writer(connect(path, timeout=0.05), ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is locked by another program"):
        writer.record_round(generation.id, make_round())
    holder.execute("ROLLBACK")
    writer.record_round(generation.id, make_round())
    assert check(holder) == []
    holder.close()
