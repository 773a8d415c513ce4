"""Processes that the tests start: ``python -m tests.store.child WHAT PATH``; they speak on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from spectui.store.database import connect
from spectui.store.records import NodeRecord
from tests.store.samples import claimed_writer, random_rounds


class BlockingNodes(Sequence[NodeRecord]):
    """Nodes that, once the transaction has begun to take them, say so and then wait for ever."""

    def __init__(self, nodes: Sequence[NodeRecord]) -> None:
        self._nodes = nodes
        self._passes = 0

    @overload
    def __getitem__(self, index: int) -> NodeRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NodeRecord]: ...
    def __getitem__(self, index: int | slice) -> NodeRecord | Sequence[NodeRecord]:
        return self._nodes[index]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[NodeRecord]:
        self._passes += 1
        # The first pass counts them; the second hands them to SQLite, the round's row already written.
        for i, node in enumerate(self._nodes):
            if self._passes == 2 and i == len(self._nodes) // 2:
                say("half-way")
                sys.stdin.read()
            yield node


def say(line: str) -> None:
    print(line, flush=True)


def create(path: Path) -> None:
    """Wait for a line, then create the database."""
    import spectui.store.schema.migrations  # noqa: F401 - so that only the creation itself is raced

    say("ready")
    sys.stdin.readline()
    connect(path).close()
    say("created")


def record(path: Path, count: int = 5000) -> None:
    """Record rounds, each announced once it is durable."""
    writer = claimed_writer(connect(path), ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    say("ready")
    for round_record in random_rounds(count, seed=generation.id):
        writer.record_round(generation.id, round_record)
        say(str(round_record.number))


def record_some(path: Path) -> None:
    """Wait for a line, then record three hundred rounds and end."""
    say("ready")
    sys.stdin.readline()
    record(path, 300)


def half_a_round(path: Path) -> None:
    """Record two rounds and half of a third."""
    writer = claimed_writer(connect(path), ["code"])
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    first, second, third = random_rounds(3, seed=1)
    writer.record_round(generation.id, first)
    writer.record_round(generation.id, second)
    writer.record_round(generation.id, replace(third, nodes=BlockingNodes(third.nodes)))
    say("recorded")


def half_a_merge(folder: Path) -> None:
    """Merge the shards 1.db to 3.db, half-way, and wait for ever."""
    from spectui.store.merging.merge import merge
    from spectui.store.merging.parts import Place

    def stop(done: int, total: int) -> None:
        if done == total // 2:
            say("half-way")
            sys.stdin.read()

    merge([Place(folder / f"{i}.db") for i in (1, 2, 3)], folder / "out.db", progress=stop)


if __name__ == "__main__":
    {
        "create": create,
        "record": record,
        "record_some": record_some,
        "half_a_round": half_a_round,
        "half_a_merge": half_a_merge,
    }[sys.argv[1]](Path(sys.argv[2]))
