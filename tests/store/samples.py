"""Rounds, sessions and random trees for the tests of the store and for its benchmark."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from spectui.store.database import Connection
from spectui.store.records import Cut, NodeRecord, PromptRecord, RoundRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter

FULL_3X2 = (None, None, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
"""Parents of the study's tree: 14 nodes."""


def make_round(
    number: int = 1,
    *,
    parents: Sequence[int | None] = FULL_3X2,
    path: Sequence[int] = (),
    prefix_length: int = 10,
    bonus: int | None = 7,
    cut: Cut | None = None,
    seed: int = 0,
    drafted: bool = True,
) -> RoundRecord:
    """A round on the tree with these parents whose accepted path is `path`; values drawn from `seed`."""
    rng = random.Random(seed * 1_000_003 + number)
    depth: list[int] = []
    ranks: dict[int | None, int] = {}
    argmax: dict[int | None, int] = {}
    nodes = []
    for idx, parent in enumerate(parents):
        depth.append(1 if parent is None else depth[parent] + 1)
        rank = ranks.get(parent, 0)
        ranks[parent] = rank + 1
        # At most one of a family is the argmax, and the accepted one is when there is one.
        if parent not in argmax:
            family = [i for i, p in enumerate(parents) if p == parent]
            chosen = [i for i in family if i in path]
            argmax[parent] = chosen[0] if chosen else rng.choice([*family, -1])
        nodes.append(
            NodeRecord(
                idx=idx,
                parent=parent,
                depth=depth[idx],
                rank=rank,
                token_id=1000 * rank + rng.randrange(1000),
                draft_p=rng.random() if drafted else None,
                target_p=rng.random(),
                draft_entropy=6 * rng.random() if drafted else None,
                target_entropy=6 * rng.random(),
                match=argmax[parent] == idx,
                accepted=idx in path,
            )
        )
    return RoundRecord(
        number=number,
        prefix_length=prefix_length,
        accepted_length=len(path),
        bonus_token_id=bonus,
        cut=cut,
        draft_ms=rng.random(),
        verify_ms=30 * rng.random(),
        other_ms=rng.random(),
        nodes=nodes,
    )


def random_path(parents: Sequence[int | None], rng: random.Random) -> list[int]:
    """A path from the root that may end anywhere."""
    path: list[int] = []
    while True:
        below = [i for i, p in enumerate(parents) if p == (path[-1] if path else None)]
        if not below or rng.random() < 0.4:
            return path
        path.append(rng.choice(below))


def random_rounds(count: int, seed: int, parents: Sequence[int | None] = FULL_3X2) -> list[RoundRecord]:
    """Rounds that follow each other, on one tree."""
    rng = random.Random(seed)
    rounds = []
    prefix = 10
    for number in range(1, count + 1):
        path = random_path(parents, rng)
        rounds.append(make_round(number, parents=parents, path=path, prefix_length=prefix, seed=seed))
        prefix += len(path) + 1
    return rounds


def make_session(db: Connection, tasks: Sequence[str] = ("code", "math"), *, name: str | None = None) -> int:
    """A session with one prompt per entry of `tasks`."""
    return create_session(
        db,
        name=name,
        config_json='{"target": "embedded"}',
        target="embedded",
        drafter="recycling",
        tree="full:3x2",
        prompts=[PromptRecord(f"{task}-{i}", task, f"prompt {i}") for i, task in enumerate(tasks)],
    )


def claimed_writer(db: Connection, tasks: Sequence[str] = ("code", "math")) -> SessionWriter:
    """The writer of a new session that this process is at work on."""
    writer = SessionWriter(db, make_session(db, tasks))
    writer.claim()
    return writer


def record_all(db: Connection, tasks: Sequence[str], rounds_each: int) -> int:
    """A finished session with random rounds; returns its id."""
    session_id = make_session(db, tasks)
    writer = SessionWriter(db, session_id)
    writer.claim()
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 10)
        for record in random_rounds(rounds_each, seed=generation.id):
            writer.record_round(generation.id, record)
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")
    writer.set_status("finished")
    return session_id


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of every file below a folder: equal snapshots, untouched files."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }
