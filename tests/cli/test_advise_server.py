"""Protects `spectui advise` on a server's session: tokens by draft length as planted, speed within its bounds."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spectui.servers.rounds import ServerRound, to_record
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.sources import Server
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli import main

SERVER = Server("vLLM", "http://127.0.0.1:8000", "smol", "0.32.0", baseline_url="http://127.0.0.1:8001")
RATES = (0.8, 0.5, 0.2)
PLAIN_MS, ROUND_MS = 10.0, 16.0


def planted(rng: random.Random, rates: Sequence[float] = RATES) -> int:
    """An accepted length where each position is accepted at its rate, given those before it."""
    length = 0
    while length < len(rates) and rng.random() < rates[length]:
        length += 1
    return length


def session(
    database: Path, *, baseline: float | None = PLAIN_MS, ms: float | None = ROUND_MS, source: str = "vLLM detailed",
    rounds: int = 20, plain_rounds: int = 0, ended: bool = False,
) -> None:  # fmt: skip
    db = open_database(database)
    made = create_session(
        db, config_json="{}", target="smol", drafter="vLLM", tree="chain:3",
        prompts=[PromptRecord(f"p{i}", ("code", "math")[i % 2], f"prompt {i}") for i in range(8)],
    )  # fmt: skip
    writer = SessionWriter(db, made)
    writer.claim()
    writer.describe(source=source, server_json=SERVER.to_json())
    for generation in writer.pending_generations():
        rng = random.Random(generation.position)
        writer.start_generation(generation.id, 10)
        each = [ServerRound(3, length, length + 1, ms) for length in (planted(rng) for _ in range(rounds))]
        each += [ServerRound(0, 0, 1, PLAIN_MS)] * plain_rounds
        each += [ServerRound(3, 2, 2, ms, cut="length")] if ended else []
        for number, one in enumerate(each, 1):
            writer.record_round(generation.id, to_record(number, one))
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="length")
    if baseline is not None:
        with Reader(db) as reader:
            round_ms = reader.session(made).total_ms / reader.session(made).rounds or None
        for off in (0.99, 1.0, 1.01):
            writer.add_baseline(off * baseline, 6, round_ms)
    writer.set_status("finished")
    db.close()


def advise(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["advise", "--db", str(database), *arguments])


def lengths(database: Path, task: str = "all") -> list[dict[str, Any]]:
    done = advise(database, "--json")
    assert done.exit_code == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)["tasks"][task]["lengths"]
    return listed


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a session of 1,200 rounds."""
    path = tmp_path_factory.mktemp("advise") / "x.db"
    session(path, rounds=150)
    return path


@pytest.mark.parametrize("task", ["code", "math", "all"])
def test_tokens_and_speed_by_length_are_those_that_were_planted(large: Path, task: str) -> None:
    tokens, reached = 1.0, 1.0
    for each, rate in zip(lengths(large, task), RATES, strict=True):
        reached *= rate
        tokens += reached
        low, high = each["tokens_ci"]
        assert low < tokens < high
        assert high - low < 0.3
        assert each["reached"] == pytest.approx(reached, abs=0.06)
        most, least = ROUND_MS / PLAIN_MS, 1 + (ROUND_MS / PLAIN_MS - 1) * each["drafted"] / 3
        assert each["speedup"] == pytest.approx(
            [each["tokens_per_round"] / most, each["tokens_per_round"] / least]
        )


def test_the_longest_drafts_bring_what_the_report_says(tmp_path: Path) -> None:
    """With the ends of outputs, whose last round lacks the target's own token."""
    session(tmp_path / "x.db", ended=True)
    done = CliRunner().invoke(main, ["report", "--db", str(tmp_path / "x.db"), "--json"])
    overall = json.loads(done.stdout)["overall"]
    longest = lengths(tmp_path / "x.db")[-1]
    assert longest["tokens_per_round"] == pytest.approx(overall["tokens_per_round"])
    assert longest["tokens_ci"] == pytest.approx(overall["tokens_per_round_ci"])


def test_the_verdict_says_which_length_pays_and_what_is_not_known(large: Path) -> None:
    """At 1.6 plain steps a round, two tokens bring 2.2 / 1.4 at best, three 2.3 / 1.6: nothing tells them apart."""
    said = advise(large).stdout
    assert "Drafts of 3, as run, are 1." in said
    assert "A run with 2 would tell." in said or "A run with 1 would tell." in said
    assert "A draft of 4 was not recorded: it brings at most" in said
    assert "cannot be replayed" in said
    assert "measured on http://127.0.0.1:8001" in " ".join(said.split())


def test_a_length_that_costs_more_than_it_brings_is_not_advised(tmp_path: Path) -> None:
    session(tmp_path / "x.db", ms=60.0)
    assert "Speculation does not pay here" in advise(tmp_path / "x.db").stdout


def test_without_a_plain_speed_it_says_the_break_even_and_how_to_get_one(tmp_path: Path) -> None:
    session(tmp_path / "x.db", baseline=None)
    assert all(each["speedup"] is None for each in lengths(tmp_path / "x.db"))
    said = " ".join(advise(tmp_path / "x.db").stdout.split())
    assert (
        "Whether speculation pays is not known: drafts of 3 pay while such a round takes less time than 2."
        in said
    )
    assert "--baseline-server URL" in said


def test_rounds_without_a_draft_give_the_plain_speed(tmp_path: Path) -> None:
    """As n-gram drafters have them; what a task gains is only in the rounds that draft."""
    session(tmp_path / "x.db", baseline=None, plain_rounds=20)
    for each in lengths(tmp_path / "x.db"):
        cost = 1 + (ROUND_MS / PLAIN_MS - 1) / 2
        assert each["speedup"][0] == pytest.approx(each["tokens_per_round"] / cost)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ms": None}, "times of rounds are not known"),
        ({"source": "chunks"}, "Accepted lengths are an estimate"),
        ({"rounds": 0, "plain_rounds": 9}, "drafted nothing"),
    ],
)
def test_what_is_missing_is_said_and_never_zero(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    session(tmp_path / "x.db", **changes)
    done = advise(tmp_path / "x.db")
    assert words in done.stdout + done.stderr
    assert " 0.00 times" not in done.stdout


@pytest.mark.parametrize(("source", "ordered"), [("vLLM detailed", True), ("SGLang histogram", False)])
def test_aiperfs_records_name_the_server_and_invent_no_order(
    tmp_path: Path, source: str, ordered: bool
) -> None:
    session(tmp_path / "x.db", rounds=5, source=source)
    out = tmp_path / "x.jsonl"
    arguments = [
        "sessions",
        "export",
        "--db",
        str(tmp_path / "x.db"),
        "--format",
        "aiperf",
        "--out",
        str(out),
    ]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    records = [json.loads(line)["spec_decode_acceptance"] for line in out.read_text().splitlines()]
    assert {record["engine"] for record in records} == {"vllm"}
    assert [record["per_step_accepted"] is not None for record in records] == [ordered] * 8
    assert all(record["num_spec_steps"] == sum(record["acceptance_histogram"].values()) for record in records)


def test_there_are_no_trees_to_save(tmp_path: Path) -> None:
    session(tmp_path / "x.db", rounds=5)
    done = advise(tmp_path / "x.db", "--save", str(tmp_path / "plan.json"))
    assert done.exit_code == 2
    assert not (tmp_path / "plan.json").exists()


def test_what_a_server_does_not_tell_is_in_no_table(tmp_path: Path) -> None:
    """Rejected tokens are unknown, so that no row counts 0 of them; a task without drafts is named beside the card."""
    database = tmp_path / "x.db"

    def read(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--db", str(database)])

    session(database)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "UPDATE round SET node_count = 0, accepted_length = 0"
            " WHERE generation_id IN (SELECT id FROM generation WHERE task = 'math')"
        )
    report = read("report", "last").stdout
    assert "by depth, on the path" in report
    assert "by depth, off the path" not in report
    assert "acceptance off the path: not known of a server" in report
    card = read("report", "last", "--card").stdout
    assert "4 finished prompts had no draft and are in no row, none of math." in card
    priced = read("advise", "last", "--price", "3")
    assert (priced.exit_code, "has no costs" in priced.stderr) == (2, True)
