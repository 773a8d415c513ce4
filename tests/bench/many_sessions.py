"""The list of sessions with thousands of them: first paint, a key of the filter, a key of the cursor.

    python -m tests.bench.many_sessions [--sessions 5000] [--db F]

Makes a database of that many finished sessions, unless F has some already, and drives the real screen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from spectui.decoding.config import RunConfig
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.app import SpectuiApp
from spectui.tui.model.session_filter import entry_of, parse
from spectui.tui.screens.sessions.screen import SessionsScreen

TASKS = ("code", "math", "logic", "chat")
DRAFTERS = {
    "recycling": "recycling:8",
    "eagle": "dynamic:8x4",
    "lookup": "chain:8",
    "eagle+lookup": "dynamic:8x4",
}


def make(path: Path, sessions: int) -> None:
    """Write sessions as a worker would have left them, without nodes."""
    db = connect(path)
    rng = random.Random(0)
    config = RunConfig().to_json()
    db.execute("BEGIN")
    for number in range(1, sessions + 1):
        drafter = rng.choice(list(DRAFTERS))
        tree, tags = DRAFTERS[drafter], rng.choice(("", "study", "gpu slow"))
        at = f"2026-{1 + number * 11 // sessions:02d}-{1 + number % 28:02d}T10:00:00+00:00"
        status = rng.choices(("finished", "stopped", "failed"), (8, 1, 1))[0]
        db.execute(
            "INSERT INTO session (id, name, status, created_at, started_at, ended_at, config, target, drafter, tree,"
            " device, prompt_count, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'cpu', 12, ?)",
            (
                number,
                f"run-{number:05d}",
                status,
                at,
                at,
                at,
                config,
                "SmolLM2-135M-Instruct",
                drafter,
                tree,
                tags,
            ),
        )
        db.executemany(
            "INSERT INTO generation (session_id, position, prompt_id, task, status, prompt_text, output)"
            " VALUES (?, ?, '', ?, 'finished', 'What is it?', 'It is this.')",
            [(number, position, TASKS[position % 4]) for position in range(12)],
        )
        db.executemany(
            "INSERT INTO rollup_task (session_id, task, prompts, rounds, nodes, tokens, match_count, accepted_count,"
            " at_risk_count, verify_ms) VALUES (?, ?, 3, 150, 1200, ?, 400, 120, 600, 7000)",
            [(number, task, rng.randrange(200, 400)) for task in TASKS],
        )
    db.execute("COMMIT")
    db.close()


async def drive(path: Path, sessions: int) -> dict[str, object]:
    """Times of the screen, in milliseconds."""
    app = SpectuiApp(path)
    started = time.perf_counter()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, SessionsScreen)
        while len(screen.table.items) < sessions:
            await pilot.pause(0.005)
        first = time.perf_counter() - started

        async def timed(action: Callable[[], Awaitable[None]]) -> float:
            begun = time.perf_counter()
            await action()
            await pilot.pause()
            return 1000 * (time.perf_counter() - begun)

        moves = [await timed(lambda: pilot.press("down")) for _ in range(60)]
        sorts = [await timed(lambda: pilot.press("o")) for _ in range(13)]
        await pilot.press("slash")
        typed = []
        for key in [*"eagle", "space", *"task:code", "space", *"#study", "space", *">2026-06"]:
            typed.append(await timed(lambda key=key: pilot.press(key)))  # type: ignore[misc]
        await pilot.press("enter")
    out: dict[str, object] = {"first_list_ms": round(1000 * first)}
    for name, times in {"cursor_key_ms": moves, "sort_key_ms": sorts, "filter_key_ms": typed}.items():
        out[name] = {"median": round(statistics.median(times), 1), "most": round(max(times), 1)}
    return out


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--db", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.db or Path(folder) / "many.db"
        if not path.exists():
            make(path, arguments.sessions)
        with Reader(path) as reader:
            begun = time.perf_counter()
            rows = reader.sessions()
            read = time.perf_counter() - begun
        begun = time.perf_counter()
        entries = [entry_of(row) for row in rows]
        made = time.perf_counter() - begun
        wanted = parse("eagle task:code #study -slow >2026-06")
        begun = time.perf_counter()
        found = sum(wanted.matches(entry) for entry in entries)
        matched = time.perf_counter() - begun
        out = asyncio.run(drive(path, len(rows)))
    out |= {
        "sessions": len(rows),
        "found": found,
        "read_ms": round(1000 * read),
        "make_entries_ms": round(1000 * made),
        "match_all_ms": round(1000 * matched, 1),
        "memory_mb": round(psutil.Process().memory_info().rss / 1e6),
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
