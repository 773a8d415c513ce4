"""One session of millions of nodes: how long it takes to open, to jump to any round of it, and to search it.

    python -m tests.bench.big_session [--nodes 10000000] [--prompts 200] [--db F] [--jumps 40]

Makes a database with that session, unless F is there already, then drives the real screens at 120x40. A jump
is timed from the key to the moment at which every pane shows it. Prints one JSON object, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from spectui.decoding.config import RunConfig
from spectui.store.counts.recount import rebuild
from spectui.store.database import connect
from spectui.store.reading import moments
from spectui.store.reading.reader import Reader
from spectui.store.reading.search import search
from spectui.store.records import PromptRecord
from spectui.store.schema.steps import STEPS
from spectui.store.sessions import create_session
from spectui.tui.app import SpectuiApp
from spectui.tui.feeds.replay import WINDOW
from spectui.tui.model.goto import ToPrompt
from spectui.tui.model.timeline import Place
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.screens.replay import ReplayScreen
from spectui.tui.widgets.histogram import Histogram
from tests.store.samples import FULL_3X2, random_rounds

TASKS = ("code", "math", "logic", "chat")
TEMPLATES = 97
"""Different rounds, repeated: their values do not matter for the time that reading them takes."""


def make(path: Path, nodes: int, prompts: int) -> None:
    """Write the session as a worker would have left it."""
    db = connect(path)
    records = [PromptRecord(f"p{i}", TASKS[i % 4], "What is it?") for i in range(prompts)]
    session = create_session(
        db, config_json=RunConfig().to_json(), target="T", drafter="D", tree="full:3x2", prompts=records
    )
    each = nodes // len(FULL_3X2) // prompts
    templates = random_rounds(TEMPLATES, seed=1)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    db.execute("CREATE TEMP TABLE kind (k INTEGER, accepted_length, own, draft_ms, verify_ms, other_ms)")
    db.execute("CREATE TEMP TABLE leaf (k, idx, parent, depth, rank, token, q, p, hq, hp, fits, accepted)")
    db.executemany(
        "INSERT INTO kind VALUES (?, ?, ?, ?, ?, ?)",
        [
            (k, r.accepted_length, r.bonus_token_id, r.draft_ms, r.verify_ms, r.other_ms)
            for k, r in enumerate(templates)
        ],
    )
    db.executemany(
        "INSERT INTO leaf VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(k, *node) for k, r in enumerate(templates) for node in r.nodes],
    )
    db.execute("CREATE INDEX temp.leaf_k ON leaf (k)")
    db.execute("CREATE INDEX temp.kind_k ON kind (k)")
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1 * ?2)"
        " INSERT INTO round (id, generation_id, number, prefix_length, accepted_length, bonus_token_id, cut,"
        " node_count, draft_ms, verify_ms, other_ms) SELECT i + 1, i / ?2 + 1, i % ?2 + 1, 10, accepted_length, own,"
        " NULL, 14, draft_ms, verify_ms, other_ms FROM n JOIN kind ON k = (i * 31) % ?3",
        (prompts, each, TEMPLATES),
    )
    db.execute(
        "INSERT INTO node (round_id, idx, parent, depth, rank, token_id, draft_p, target_p, draft_entropy,"
        ' target_entropy, "match", accepted)'
        " SELECT round.id, idx, parent, depth, rank, token, q, p, hq, hp, fits, accepted"
        " FROM round CROSS JOIN leaf ON k = ((round.id - 1) * 31) % ? ORDER BY round.id, idx",
        (TEMPLATES,),
    )
    db.executemany("INSERT INTO token VALUES ('tok', ?, ?)", [(i, f" w{i}".encode()) for i in range(2000)])
    at = "2026-03-01T10:00:00+00:00"
    db.execute(
        "UPDATE generation SET status = 'finished', finish_reason = 'length', started_at = ?, ended_at = ?",
        (at, at),
    )
    db.execute(
        "UPDATE session SET status = 'finished', tokenizer_id = 'tok', started_at = ?, ended_at = ?", (at, at)
    )
    for name, statements in STEPS:
        if name.endswith("_blocks"):  # as sessions from before there were blocks got theirs
            for statement in statements:
                if "INSERT INTO" in statement:
                    db.execute(statement)
    rebuild(db, session)
    db.execute("COMMIT")
    db.close()


async def drive(path: Path, jumps: int) -> dict[str, object]:
    """Open the session, then jump about in it."""
    rng = random.Random(3)
    with Reader(path) as reader:
        rows = reader.generations(1, texts=False)
    app = SpectuiApp(path, 1)
    async with app.run_test(size=(120, 40)) as pilot:
        begun = time.perf_counter()
        screen = app.screen
        assert isinstance(screen, LiveScreen)
        while not screen.query_one("#lengths-view", Histogram)._figures:
            await pilot.pause(0.002)
        opened = time.perf_counter() - begun
        app.replay(1, Place(rows[0].id, 1))
        await pilot.pause()
        replay = app.screen
        assert isinstance(replay, ReplayScreen)
        while replay.moment is None:
            await pilot.pause(0.002)
        times = []
        for _ in range(jumps):
            place = Place(rng.choice(rows).id, rng.randrange(1, rows[0].round_count + 1))
            position = next(row.position for row in rows if row.id == place.generation_id)
            begun = time.perf_counter()
            replay._clock.seek(ToPrompt(position + 1, place.number))
            while replay.moment.place != place or replay.body.tree_view.number != place.number:
                await pilot.pause(0.001)
            times.append(1000 * (time.perf_counter() - begun))
            await pilot.pause(0.6)  # what is worked out once nothing moves is not part of a jump
    return {
        "histograms_ms": round(1000 * opened),
        "jump_ms": {"median": round(statistics.median(times)), "most": round(max(times))},
        "memory_mb": round(psutil.Process().memory_info().rss / 1e6),
    }


def reads(path: Path) -> dict[str, object]:
    """What the reads behind a jump and a search take."""
    out: dict[str, object] = {}
    with Reader(path) as reader:
        rows = reader.generations(1, texts=False)
        last = rows[-1]
        behind: dict[str, Callable[[], object]] = {
            "course": lambda: moments.stretches(reader, 1),
            "sums_before": lambda: moments.sums_before(reader, 1, last.position),
            "sums_within": lambda: moments.sums_within(reader, last.id, last.round_count - 1),
            "text": lambda: reader.rounds(last.id, after=last.round_count - WINDOW, limit=WINDOW),
        }
        for name, read in behind.items():
            begun = time.perf_counter()
            read()
            out[f"{name}_ms"] = round(1000 * (time.perf_counter() - begun), 1)
        begun = time.perf_counter()
        steps = hits = 0
        for step in search(reader, 1, "w7 w1999 w"):
            steps, hits = step.rounds, hits + len(step.hits)
        out["search"] = {"rounds": steps, "hits": hits, "s": round(time.perf_counter() - begun, 1)}
    return out


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000_000)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--db", type=Path)
    parser.add_argument("--jumps", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.db or Path(folder) / "big.db"
        begun = time.perf_counter()
        if not path.exists():
            make(path, arguments.nodes, arguments.prompts)
        made = time.perf_counter() - begun
        out = asyncio.run(drive(path, arguments.jumps)) | reads(path)
    print(json.dumps(out | {"made_s": round(made, 1)}))


if __name__ == "__main__":
    main()
