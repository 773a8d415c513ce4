"""Shards as runs leave them, with random rounds in place of models; the n-th prompt has the same rounds in each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from spectui.store.database import connect
from spectui.store.device_class import DeviceClass
from spectui.store.merging.shards import Shard, digest_of, positions_of
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import random_rounds

PROMPTS = [PromptRecord(f"{task}-{i}", task, f"prompt {i}") for i in range(4) for task in ("code", "math")]
CPU = DeviceClass("AMD EPYC", "float32", 1)
GPU = DeviceClass("NVIDIA H200", "bfloat16", 0)
FACTS: dict[str, Any] = {
    "device": "cpu",
    "tokenizer_id": "tiny",
    "versions": {"python": "3.11.7", "spectui": "0.1.0", "torch": "2.13.0"},
    "model_files": {"target": {"model.safetensors": "abc"}},
}


_made: dict[str, bytes] = {}


def make(path: Path, shard: str = "", **facts: Any) -> Path:
    """A database with the session of a shard, or with one of all prompts; made once, then copied.

    `facts` are the arguments of `_make`, or of `SessionWriter.describe`.
    """
    key = f"{shard} {facts}"
    if key in _made and not path.exists():
        path.write_bytes(_made[key])
        return path
    fresh = not path.exists()
    _make(path, shard, **facts)
    if fresh and facts.get("status") != "running":  # whose worker is at work on this file alone
        _made[key] = path.read_bytes()
    return path


def _make(
    path: Path,
    shard: str,
    *,
    prompts: Sequence[PromptRecord] = PROMPTS,
    rounds: int = 5,
    machine: DeviceClass = CPU,
    undone: Iterable[int] = (),
    plain_ms: float = 30.0,
    status: str = "finished",
    config: dict[str, Any] | None = None,
    replicas: Sequence[DeviceClass] = (),
    **facts: Any,
) -> None:
    """Prompts at `undone` have not been begun."""
    positions: Sequence[int] = range(len(prompts))
    part = None
    if shard:
        number, of = map(int, shard.split("/"))
        positions = positions_of([each.task for each in prompts], number, of)
        part = Shard(number, of, len(prompts), digest_of(prompts)).to_json()
    with closing(connect(path)) as db:
        session = create_session(
            db,
            config_json=json.dumps({"target": "tiny", "temperature": 0.0, "shard": shard} | (config or {})),
            target="tiny",
            drafter="eagle",
            tree="full:3x2",
            prompts=[prompts[position] for position in positions],
            positions=positions,
            shard_json=part,
        )
        writer = SessionWriter(db, session)
        writer.claim(host=f"node-{machine.name[:3]}")
        writer.describe(**FACTS | {"machine_json": machine.to_json()} | facts)
        writer.add_tokens("tiny", {1: b"a"})
        ids: list[int] = []
        for number, each in enumerate(replicas, start=1):
            ids.append(number)
            db.execute(
                "INSERT INTO replica (id, session_id, number, host, device, machine, energy_joules, energy_seconds)"
                " VALUES (?, ?, ?, 'node', 'cuda:0', ?, 50.0, 5.0)",
                (number, session, number, each.to_json()),
            )
        for prompt in writer.pending_generations():
            if prompt.position in undone:
                continue
            writer.start_generation(prompt.id, 10, ids[prompt.position % len(ids)] if ids else None)
            for record in random_rounds(rounds, seed=prompt.position):
                writer.record_round(prompt.id, record)
            writer.add_event("repetition", f"of prompt {prompt.position}", prompt.id)
            writer.finish_generation(
                prompt.id, "finished", output=f"output {prompt.position}", finish_reason="eos"
            )
        for off in (0.98, 1.0, 1.02):
            writer.add_baseline(off * plain_ms, 1, 16.0, ids[0] if ids else None)
        writer.heartbeat(None, None, energy=(100.0, 10.0))
        writer.set_status(status)
