"""Protects: rounds of a real llama.cpp server, their sums, their intervals, and runs that outlive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spectui.servers.client import Client
from spectui.servers.metrics import read_page
from spectui.store.analysis.report import build_report
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.samples import Sample
from spectui.store.sessions import send_command
from tests.servers.llama_server import DRAFTED, RATES, SELF, LlamaServer
from tests.servers.sessions import TEXTS, new_session, work
from tests.waiting import until

pytestmark = pytest.mark.model
LOOPS = (
    ("code", "Repeat this line six times: one two three four, one two three four, one two three four"),
    (
        "math",
        "Say again and again: the cat sat on the mat and the cat sat on the mat and the cat sat on the mat",
    ),
)


def counted(server: LlamaServer) -> Sample:
    with Client(server.address) as client:
        return read_page(client.text("/metrics"), time.time())


@pytest.fixture(scope="module")
def undisturbed(self_drafting: LlamaServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("self") / "runs.db"
    assert work(database, new_session(database, self_drafting.address)) == 0
    return database


def outputs(database: Path) -> list[tuple[str, str]]:
    with Reader(database) as reader:
        return [(row.status, row.output) for row in reader.generations(1)]


def test_a_draft_that_is_the_target_is_accepted_whole(undisturbed: Path) -> None:
    with Reader(undisturbed) as reader:
        summary = reader.session(1)
        rounds = [row for generation in reader.generations(1) for row in reader.rounds(generation.id)]
        tables = reader.tokens(summary.tokenizer_id, {t for row in rounds for t in row.emitted})
        firsts = reader.tokens(
            summary.tokenizer_id,
            {g.first_token_id for g in reader.generations(1) if g.first_token_id is not None},
        )
        for generation in reader.generations(1):
            of = reader.rounds(generation.id)
            text = firsts[generation.first_token_id or 0] + b"".join(
                tables[t] for row in of for t in row.emitted
            )
            assert text.decode() == generation.output
            assert generation.status == "finished"
    assert summary.source == "llama.cpp stream"
    assert summary.server is not None
    assert (summary.server.kind, summary.server.method, summary.drafter) == (
        "llama.cpp",
        "draft-simple",
        "draft-simple",
    )
    assert max(row.node_count for row in rounds) == DRAFTED
    assert summary.accepted_at_risk == 1.0
    assert summary.tokens_per_second is not None
    assert (summary.match_rate, summary.draft_ms) == (None, None)
    db = connect(undisturbed)
    assert check(db) == []
    db.close()


def test_two_prompts_at_a_time_have_the_rounds_that_each_has_alone(
    self_drafting: LlamaServer, undisturbed: Path, tmp_path: Path
) -> None:
    database = tmp_path / "runs.db"
    assert work(database, new_session(database, self_drafting.address, concurrency=2)) == 0
    assert outputs(database) == outputs(undisturbed)
    with Reader(database) as two, Reader(undisturbed) as one:
        assert two.figures(1)["code"].lengths == one.figures(1)["code"].lengths
        assert two.figures(1)["math"].depths == one.figures(1)["math"].depths


def test_rounds_and_sums_are_those_that_the_server_counts(looking_up: LlamaServer, tmp_path: Path) -> None:
    database, before = tmp_path / "runs.db", counted(looking_up)
    assert work(database, new_session(database, looking_up.address, LOOPS, max_new_tokens=60)) == 0
    after = counted(looking_up)
    with Reader(database) as reader:
        figures = reader.figures(1).values()
        drafting = sum(row.node_count > 0 for g in reader.generations(1) for row in reader.rounds(g.id))
    assert drafting == (after.drafts or 0) - (before.drafts or 0) > 0
    assert sum(task.nodes for task in figures) == (after.drafted or 0) - (before.drafted or 0)
    accepted = sum(task.accepted_count for task in figures)
    assert accepted == (after.accepted or 0) - (before.accepted or 0) > 0
    reached = [0] * max(depth for task in figures for depth in task.depths)
    for task in figures:
        for depth, at in task.depths.items():
            reached[depth - 1] += at.rounds_reached
    positions = [*after.by_position, *[0.0] * len(reached)][: len(reached)]
    earlier = [*before.by_position, *[0.0] * len(reached)]
    assert reached == [int(now - then) for now, then in zip(positions, earlier, strict=False)]


def test_intervals_cover_the_rates_that_the_server_accepts_by(
    of_known_rates: LlamaServer, tmp_path: Path
) -> None:
    database = tmp_path / "runs.db"
    texts = [("code", f"Write the number {number} in words, then a poem about it.") for number in range(8)]
    assert work(database, new_session(database, of_known_rates.address, texts, max_new_tokens=20)) == 0
    with Reader(database) as reader:
        report = build_report(reader, 1)
    assert report.overall is not None
    for rate, step in zip(RATES, report.overall.on_path, strict=True):
        assert step.survival_ci is not None
        low, high = step.survival_ci
        assert low <= rate <= high
        assert high - low < 0.5
    assert (
        "llama.cpp's stream" in report.notes["match, overlap, entropies, predictors, acceptance off the path"]
    )
    assert report.overall.off_path == []
    assert report.overall.alpha["match"].mean is None


def test_a_server_that_dies_costs_nothing_but_time(
    gguf: Path, self_drafting: LlamaServer, tmp_path: Path
) -> None:
    """Of outputs that are long enough for something to happen in the middle of one."""
    undisturbed, database = tmp_path / "undisturbed.db", tmp_path / "runs.db"
    long: dict[str, Any] = {"max_new_tokens": 40}
    assert work(undisturbed, new_session(undisturbed, self_drafting.address, **long)) == 0
    servers = [LlamaServer(gguf, SELF)]
    session = new_session(database, servers[0].address, **long)

    def work_until(prompts: int, then: Callable[[], None]) -> int:
        """Run the session; something happens in the middle of the prompt after so many. The worker's exit code."""

        def wait() -> None:
            with Reader(database) as reader:
                until(lambda: reader.session(session).prompts_done >= prompts and _running(reader, session))
            then()

        with ThreadPoolExecutor(1) as pool:
            disturbance = pool.submit(wait)
            code = work(database, session)
            disturbance.result()
        return code

    def kill_and_stop() -> None:
        servers[-1].kill()
        db = connect(database)
        send_command(db, session, "stop")
        db.close()

    def restart() -> None:
        servers[-1].kill()
        servers.append(LlamaServer(gguf, SELF, port=servers[0].port))

    try:
        assert work_until(1, kill_and_stop) == 0
        with Reader(database) as reader:
            stopped = reader.session(session)
            assert (stopped.status, reader.unfinished(session)) == (
                "stopped",
                len(TEXTS) - stopped.prompts_done,
            )
        restart()
        assert work_until(2, restart) == 0
    finally:
        for server in servers:
            server.kill()
    assert outputs(database) == outputs(undisturbed)
    with Reader(database) as reader:
        assert reader.session(session).status == "finished"
        assert {event.kind for event in reader.events(session)} >= {"resumed", "retry"}
    db = connect(database)
    assert check(db) == []
    db.close()


def _running(reader: Reader, session: int) -> bool:
    return any(row.status == "running" and row.round_count > 0 for row in reader.generations(session))
