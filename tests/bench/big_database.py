"""The cost of a large database: 2,000 sessions, and one of ten million nodes.

    python -m tests.bench.big_database make F [--sessions 2000] [--nodes 10000000]
    python -m tests.bench.big_database measure F [--repeat 5] [--json]

`make` writes the database (700 MB, some minutes); `measure` prints each figure with its limit, or one JSON
object: how soon the home screen is painted after the start of the process, what a key of the filter takes until
the terminal has all of its answer, how soon the big session shows its histograms, what opening any prompt and any
round of it takes, and the memory of the dashboard after all of that. The exit code is 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from textual.pilot import Pilot

from spectui.decoding.config import RunConfig
from spectui.store.counts.recount import rebuild
from spectui.store.counts.rollups import rebuild_blocks
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.sqlite.transactions import transaction
from spectui.tui.app import SpectuiApp
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.sessions.screen import SessionsScreen
from spectui.tui.widgets.histogram import Histogram
from tests.tui.synthetic import TEXTS, TOKENIZER, Vocabulary, rounds
from tests.tui.terminal.pty import Terminal, dashboard
from tests.waiting import until

BIG = "ten-million"
LIMITS: dict[str, tuple[str, float]] = {
    "first_paint_ms": ("home screen painted, from the start of the process", 700),
    "filter_key_ms": ("a key of the filter, until its answer is written", 100),
    "histograms_ms": ("opening the big session, until its histograms", 300),
    "any_prompt_ms": ("opening any prompt of it, until its tree", 200),
    "any_round_ms": ("jumping to any round, until its tree", 200),
    "memory_mb": ("memory of the dashboard", 250),
}
"""Figure -> what it is, and the most it may be: medians of milliseconds, megabytes."""
FILTER = "137\x7f\x7f\x7f208 lookup"
"""Digits of names, taken away again, then a word: nearly every key changes the list."""
SILENCE_S = 0.25
"""After which a terminal has been written all that a key brings."""
PROMPTS = 200
TEMPLATES = 500
"""Rounds that are made for each task and written over and over: making ten million nodes would take an hour."""
TASKS = ("code", "math", "logic", "chat")
DRAFTERS = {
    "recycling": "recycling:8",
    "eagle": "dynamic:8x4",
    "lookup": "chain:8",
    "eagle+lookup": "dynamic:8x4",
}
"""Drafter -> tree, of the sessions that are made up."""


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


def write_big(path: Path, nodes: int) -> None:
    """Write one finished session of that many nodes: rows in bulk, then sums from them as a repair does."""
    db = connect(path)
    vocabulary = Vocabulary()
    tasks = tuple(TEXTS)
    made = {}
    for task in tasks:
        stream = rounds(TEXTS[task], vocabulary, seed=1, tree="full:3x2")
        made[task] = [next(stream) for _ in range(TEMPLATES)]
    session = create_session(
        db,
        name=BIG,
        config_json=RunConfig().to_json(),
        target="SmolLM2-135M-Instruct",
        drafter="eagle",
        tree="full:3x2",
        prompts=[PromptRecord(f"p-{i}", tasks[i % 4], "What is it?") for i in range(PROMPTS)],
    )
    at = "2026-11-01T10:00:00+00:00"
    db.execute(
        "UPDATE session SET status = 'finished', tokenizer_id = ?, started_at = ?, ended_at = ? WHERE id = ?",
        (TOKENIZER, at, at, session),
    )
    db.executemany(
        "INSERT OR IGNORE INTO token (tokenizer_id, token_id, bytes) VALUES (?, ?, ?)",
        [(TOKENIZER, number, data) for number, data in vocabulary.table.items()],
    )
    each = nodes // 14 // PROMPTS
    first = db.execute("SELECT coalesce(max(id), 0) FROM round").fetchone()[0] + 1
    generations = db.execute(
        "SELECT id, task FROM generation WHERE session_id = ? ORDER BY position", (session,)
    ).fetchall()
    for place, (generation, task) in enumerate(generations):
        start = first + place * each
        chosen = [made[task][number % TEMPLATES] for number in range(each)]
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO round (id, generation_id, number, prefix_length, accepted_length, bonus_token_id, cut,"
            " node_count, draft_ms, verify_ms, other_ms) VALUES (?, ?, ?, ?, ?, ?, NULL, 14, ?, ?, ?)",
            [
                (
                    start + i,
                    generation,
                    i + 1,
                    40 + 2 * i,
                    r.accepted_length,
                    r.bonus_token_id,
                    r.draft_ms,
                    r.verify_ms,
                    r.other_ms,
                )
                for i, r in enumerate(chosen)
            ],
        )
        db.executemany(
            "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _node_rows(chosen, start)
        )
        db.execute(
            "UPDATE generation SET status = 'finished', finish_reason = 'length', output = 'It is this.',"
            " started_at = ?, ended_at = ? WHERE id = ?",
            (at, at, generation),
        )
        db.execute("COMMIT")
        print(f"\r{(place + 1) * each * 14:,} nodes", end="", flush=True)
    print("\nadding up", flush=True)
    with transaction(db):
        rebuild(db, session)
        rebuild_blocks(db, session)
    db.close()


def _node_rows(chosen: list[Any], start: int) -> Iterator[tuple[Any, ...]]:
    for i, record in enumerate(chosen):
        for node in record.nodes:
            yield (start + i, *node)


async def opened(pilot: Pilot[Any], condition: Callable[[], object]) -> float:
    """Milliseconds until the condition holds."""
    begun = time.perf_counter()
    while not condition():
        await asyncio.sleep(0.002)
    return 1000 * (time.perf_counter() - begun)


async def drive(path: Path, repeat: int) -> dict[str, Any]:
    """Times within the real screens, in milliseconds."""
    with Reader(path) as reader:
        big = reader.session(BIG).id
        generations = reader.generations(big, texts=False)
    gc.freeze()  # as `run_dashboard` does
    app = SpectuiApp(path)
    rng = random.Random(0)
    out: dict[str, list[float]] = {"histograms": [], "any_prompt": [], "any_round": []}
    async with app.run_test(size=(120, 40)) as pilot:
        home = app.screen
        assert isinstance(home, SessionsScreen)
        await opened(pilot, lambda: home.table.items)
        for _ in range(repeat):
            app.go("live", big)
            taken = await opened(pilot, lambda: isinstance(app.screen, LiveScreen))
            screen = app.screen
            assert isinstance(screen, LiveScreen)
            taken += await opened(pilot, lambda s=screen: any(h._figures for h in s.query(Histogram)))  # type: ignore[misc]
            out["histograms"].append(taken)
            for _ in range(repeat):
                generation = rng.choice(generations)
                screen.open_prompt(generation.id)
                out["any_prompt"].append(
                    await opened(
                        pilot,
                        lambda s=screen, g=generation: (
                            s.shown and s.shown.id == g.id and s.body.tree_view.number
                        ),  # type: ignore[misc]
                    )
                )
                number = rng.randrange(1, max(screen._last_round, 2))
                screen._set_round(number)
                out["any_round"].append(
                    await opened(pilot, lambda s=screen, n=number: s.body.tree_view.number == n)  # type: ignore[misc]
                )
            app.pop_screen()
            await pilot.pause()
    memory = psutil.Process().memory_info().rss
    return _summed(out) | {"memory_mb": round(memory / 1e6)}


def in_a_terminal(path: Path, repeat: int) -> dict[str, list[float]]:
    """Milliseconds from the start of a process to the list of sessions, and from each key of a filter to the last
    byte that it brings, the summary of the session then under the cursor included."""
    paints, keys = [], []
    for _ in range(repeat):
        with dashboard(path) as terminal:
            terminal.wait_for(BIG)
            at = terminal.time_of(BIG, since=0.0)
            assert at is not None
            paints.append(1000 * (at - terminal.started))
            _settled(terminal)
            pressed = terminal.press("/")
            until(lambda pressed=pressed: terminal.last_write() > pressed)  # type: ignore[misc]
            _settled(terminal)
            for key in FILTER:
                pressed = terminal.press(key)
                until(lambda pressed=pressed: terminal.last_write() > pressed)  # type: ignore[misc]
                _settled(terminal)
                keys.append(1000 * (terminal.last_write() - pressed))
    return {"first_paint": paints, "filter_key": keys}


def _settled(terminal: Terminal) -> None:
    until(lambda: time.monotonic() - terminal.last_write() > SILENCE_S)


def main() -> None:
    """Make, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("make", "measure"))
    parser.add_argument("database", type=Path)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.database, arguments.sessions)
        write_big(arguments.database, arguments.nodes)
        return
    figures = _summed(in_a_terminal(arguments.database, arguments.repeat))
    figures |= asyncio.run(drive(arguments.database, arguments.repeat))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, (words, limit) in LIMITS.items():
            value, most = _of(figures[name])
            unit = "MB" if name == "memory_mb" else "ms"
            verdict = "holds" if value <= limit else "DOES NOT HOLD"
            worst = "" if most is None else f"  (most {most:,.0f})"
            print(f"{words:<52}{value:>8,.0f} {unit}  limit {limit:,.0f} {unit}  {verdict}{worst}")
    if any(_of(figures[name])[0] > limit for name, (_, limit) in LIMITS.items()):
        raise SystemExit(1)


def _summed(times: dict[str, list[float]]) -> dict[str, Any]:
    return {
        f"{name}_ms": {
            "median": round(statistics.median(each), 1),
            "most": round(max(each), 1),
            "of": len(each),
        }
        for name, each in times.items()
    }


def _of(figure: Any) -> tuple[float, float | None]:
    """The value that a limit is for, and the largest."""
    return (figure["median"], figure["most"]) if isinstance(figure, dict) else (figure, None)


if __name__ == "__main__":
    main()
