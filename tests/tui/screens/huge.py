"""Sessions whose figures are as long as figures get, for the tests that none is ever cut."""

from __future__ import annotations

import json
from pathlib import Path

from spectui.store.sessions import set_notes, set_tags
from tests.tui.replay import Recording
from tests.tui.screens.data import at_fixed_times

PROMPTS = 200_000
MILLION, BILLION = 1_000_000, 1_000_000_000
NAME = "evening-of-the-exceptionally-long-and-patient-study-of-trees"
TASKS = (
    "code",
    "mathematics-olympiad",
    "retrieval-augmented-generation",
    "写作",
    "logic",
    "chat",
    "translation-from-finnish",
    "qa",
)
TREE = "dynamic:1024x64"


def make_huge(database: Path) -> None:
    """Two sessions of the same prompts with such figures: one over, one at work. No text of theirs has a digit."""
    for name, running in ((NAME, False), (f"{NAME}-again", True)):
        run = Recording(
            database,
            name=name,
            tasks=TASKS,
            prompts=len(TASKS) + 2,
            texts=dict.fromkeys(TASKS, f"Something about {'words ' * 20}\n"),
            questions=dict.fromkeys(TASKS, "What is there to say? " * 12),
        )
        run.begin()
        for index in range(len(TASKS) + 1):
            run.prompt(tokens=40, finish=None if running and index == len(TASKS) else "finished")
        if not running:
            run.end()
        at_fixed_times(run)
        _grow(run)
        run.close()


def make_weighed(database: Path) -> None:
    """A session whose trees can be weighed: its rounds are what they were."""
    run = Recording(database, name=NAME, tasks=TASKS[:4], prompts=8)
    run.begin()
    for _ in range(8):
        run.prompt(tokens=60)
    run.end()
    at_fixed_times(run)
    run.close()


def _grow(run: Recording) -> None:
    """Give its rows the longest figures they may have."""
    gpus = [
        {
            "index": index,
            "name": "NVIDIA GeForce of an Exceptionally Long Name",
            "percent": 100.0,
            "used_bytes": 141.2e9,
            "total_bytes": 143.8e9,
            "watts": 1234.0,
            "limit_watts": 1400.0,
            "celsius": 101.0,
            "mhz": 12_345.0,
            "history": [100.0] * 60,
        }
        for index in range(8)
    ]
    config = {"price": 12.5, "temperature": 0.7, "top_p": 0.95, "seed": 1234567890, "max_new_tokens": 100_000}
    with run.db:
        key = (run.id,)
        run.db.execute(
            "UPDATE session SET target = ?, drafter = ?, tree = ?, prompt_count = ?, baseline_ms = 0.5, cpu_percent ="
            " 12345.0, rss_bytes = 1234567890123, gpu = ?, energy_joules = 123456789.0, energy_seconds = 123456.0,"
            " config = json_patch(config, ?), device = 'cuda:7', started_at = '2026-01-01T10:00:00+00:00' WHERE id = ?",
            (
                "meta-llama/Llama-of-many-parameters-Instruct-with-a-very-long-name",
                "recycling-with-an-unusually-long-name+lookup",
                TREE,
                PROMPTS,
                json.dumps({"gpus": gpus}),
                json.dumps(config),
                *key,
            ),
        )
        run.db.execute(
            "UPDATE generation SET position = position + ?, token_count = ?, node_count = ?, match_count = ?,"
            " accepted_count = ?, at_risk_count = ?, draft_ms = 1e6, verify_ms = 9e6, other_ms = 2e4"
            " WHERE session_id = ? AND round_count",
            (
                PROMPTS - len(TASKS) - 2,
                1_234_567,
                99 * MILLION,
                33 * MILLION,
                12 * MILLION,
                50 * MILLION,
                *key,
            ),
        )
        run.db.execute(
            "UPDATE generation SET position = ? WHERE session_id = ? AND NOT round_count", (PROMPTS - 1, *key)
        )
        run.db.execute(
            "UPDATE round SET number = number + 1234567, draft_ms = 12345.6, verify_ms = 98765.4"
            " WHERE generation_id IN (SELECT id FROM generation WHERE session_id = ?)",
            key,
        )
        run.db.execute(
            "UPDATE generation SET round_count = round_count + 1234567 WHERE session_id = ? AND round_count",
            key,
        )
        run.db.execute(
            "UPDATE rollup_task SET prompts = ?, rounds = ?, nodes = ?, tokens = ?, accepted_count = ?, at_risk_count"
            " = ?, match_count = ?, draft_ms = 1e7, verify_ms = 9e7, other_ms = 1e6 WHERE session_id = ?",
            (
                25_000,
                BILLION,
                99 * BILLION,
                13_340 * MILLION,
                12_340 * MILLION,
                60 * BILLION,
                30 * BILLION,
                *key,
            ),
        )
        run.db.execute("UPDATE rollup_length SET rounds = rounds * 12345678 WHERE session_id = ?", key)
        for task in TASKS:
            run.db.executemany(
                "INSERT OR REPLACE INTO rollup_length VALUES (?, ?, ?, ?)",
                [(run.id, task, length, 123_456_789) for length in range(4, 33)],
            )
            run.db.executemany(
                "INSERT OR REPLACE INTO rollup_depth VALUES (?, ?, ?, ?, ?, ?, ?, 1.0, 1, ?, ?, ?)",
                [
                    (
                        run.id,
                        task,
                        depth,
                        BILLION,
                        BILLION // 3,
                        BILLION // 2,
                        BILLION // 4,
                        BILLION,
                        BILLION // 2,
                        BILLION,
                    )
                    for depth in range(1, 33)
                ],
            )
    set_tags(run.db, run.id, ["a-rather-long-tag", "study"])
    set_notes(run.db, run.id, "before the new head " * 10)
