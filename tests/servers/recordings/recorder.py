"""The files of a real vLLM's recorder while 8 of our prompts were asked, and ways to write them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from spectui.servers.recordings.importer import Importer
from spectui.store.database import connect

RECORDED = Path(__file__).parent.parent / "recorded" / "recorder"
ENGINE, WORKER = (
    (RECORDED / f"{role}.jsonl").read_bytes().splitlines(keepends=True) for role in ("engine", "worker")
)
ANSWERS: list[dict[str, Any]] = json.loads((RECORDED / "responses.json").read_text())["rows"]
Rows = list[list[Any]]


def rows(lines: Iterable[bytes], change: Callable[[Rows], Rows] = lambda all_rows: all_rows) -> list[bytes]:
    """Lines with their rows changed."""
    changed = change([json.loads(line) for line in lines])
    return [json.dumps(row).encode() + b"\n" for row in changed]


def write(folder: Path, engine: Sequence[bytes] = ENGINE, worker: Sequence[bytes] = WORKER) -> Path:
    """A folder with the files of one server."""
    folder.mkdir(exist_ok=True)
    (folder / "1-1-engine.jsonl").write_bytes(b"".join(engine))
    (folder / "1-2-worker.jsonl").write_bytes(b"".join(worker))
    return folder


def import_all(folder: Path, database: Path, **options: Any) -> list[int]:
    """Record what a folder holds; the sessions."""
    return Importer(folder, database, **options).import_all()


def contents(database: Path) -> list[tuple[Any, ...]]:
    """Every prompt, round and node of a database."""
    connection = connect(database)
    try:
        return [
            *connection.execute(
                "SELECT prompt_id, task, status, finish_reason, prompt_tokens, token_count, first_token_id, reached"
                " FROM generation JOIN request ON generation_id = generation.id ORDER BY prompt_id"
            ),
            *connection.execute(
                "SELECT prompt_id, number, prefix_length, accepted_length, bonus_token_id, cut, round.node_count,"
                " round.other_ms"
                " FROM round JOIN generation ON generation.id = generation_id ORDER BY prompt_id, number"
            ),
            *connection.execute(
                "SELECT prompt_id, number, node.* FROM node JOIN round ON round.id = round_id JOIN generation"
                " ON generation.id = generation_id ORDER BY prompt_id, number, idx"
            ).fetchall(),
        ]
    finally:
        connection.close()


def without_ids(table: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of `contents` without `node.round_id`, which depends on the order of rounds."""
    return [row[:2] + row[3:] if len(row) > 10 else row for row in table]
