"""Acceptance of each request as AIPerf's ``profile_export.jsonl`` has it: one object a line.

The figures are its engine-neutral record of a request (``spec_decode_acceptance``), whose sums agree with each other.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from spectui.store.reading.reader import Reader
from spectui.store.reading.steps import Steps, read_steps
from spectui.store.rows import GenerationRow

WRITER = "spectui"
_MOST = """
    SELECT max(node_count) FROM round WHERE generation_id IN (SELECT id FROM generation WHERE session_id = ?)
"""


def acceptance(
    steps: Steps | None, tokens: int, *, engine: str, most: int | None, ordered: bool = True
) -> dict[str, Any] | None:
    """The acceptance record of a request that drafted, else None; `most` draft tokens a step, if there is a limit.

    Its arrays are None where it is not known which step came when.
    """
    if steps is None:
        return None
    accepted, drafted, count = sum(steps.accepted), sum(steps.drafted), len(steps.accepted)
    return {
        "engine": engine,
        "mean_acceptance_length": 1 + accepted / count,
        "draft_acceptance_rate": accepted / drafted,
        "acceptance_histogram": {str(j): n for j, n in sorted(Counter(steps.accepted).items())},
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_steps": count,
        "num_spec_tokens": most,
        "completion_tokens": tokens,
        "per_step_accepted": list(steps.accepted) if ordered else None,
        "per_step_drafted": list(steps.drafted) if ordered else None,
    }


def write_records(
    reader: Reader, session_id: int, path: Path, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write a line for each prompt that has ended to the empty file `path`; returns the numbers of prompts and rounds.

    Call within `snapshot`; `progress` is called with a table and the rows just written.
    """
    ((most,),) = reader.fetch(_MOST, session_id)
    summary = reader.session(session_id)
    engine = WRITER if summary.server is None else summary.server.kind.lower().replace(".", "")
    ordered = summary.rounds_from.ordered
    steps = read_steps(reader, session_id)
    following = next(steps, None)
    written = dict.fromkeys(("generation", "round"), 0)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in reader.generations(session_id, texts=False):
            of_row = None
            if following is not None and following.generation_id == row.id:
                of_row, following = following, next(steps, None)
            if row.started_at is None or row.ended_at is None:
                continue
            record = acceptance(of_row, row.token_count, engine=engine, most=most, ordered=ordered)
            file.write(json.dumps(_line(row, record), separators=(",", ":")) + "\n")
            for table, rows in (("generation", 1), ("round", 0 if of_row is None else len(of_row.drafted))):
                written[table] += rows
                progress(table, rows)
    return written


def _line(row: GenerationRow, record: dict[str, Any] | None) -> dict[str, Any]:
    begun, ended = _nanoseconds(row.started_at), _nanoseconds(row.ended_at)
    metrics = {
        "input_sequence_length": (row.prompt_tokens, "tokens"),
        "output_sequence_length": (row.token_count, "tokens"),
        "request_latency": (max(ended - begun, 0) / 1e6, "ms"),
    }
    return {
        "metadata": {
            "session_num": row.position,
            "conversation_id": row.prompt_id,
            "source_kind": row.task,
            "request_start_ns": begun,
            "request_end_ns": ended,
            "worker_id": WRITER,
            "record_processor_id": WRITER,
            "benchmark_phase": "profiling",
            "was_cancelled": row.status == "skipped",
        },
        "metrics": {
            name: {"value": value, "unit": unit}
            for name, (value, unit) in metrics.items()
            if value is not None
        },
        "spec_decode_acceptance": record,
        "error": None if row.error is None else {"message": row.error},
    }


def _nanoseconds(stamp: str | None) -> int:
    moment = datetime.fromisoformat(stamp or "")
    return int(moment.timestamp() * 1000) * 1_000_000
