"""The sessions that screens are drawn from: the same at every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from spectui.servers.rounds import ServerRound, to_record
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.rows import SessionSummary
from spectui.store.sessions import set_notes, set_tags
from spectui.store.sources import Server
from spectui.tui.model import progress
from tests.tui.replay import Recording
from tests.tui.synthetic import TEXTS

_worker_words = progress.worker_words

Data = Callable[[Path], int | None]
"""Writes a database; returns the session to open, None for the list of all."""


def at_fixed_times(recording: Recording) -> None:
    """Give a session times that do not depend on when the test runs."""
    with recording.db:
        recording.db.execute(
            "UPDATE session SET created_at = '2026-03-01T10:00:00+00:00', started_at = '2026-03-01T10:00:00+00:00',"
            " ended_at = CASE WHEN ended_at IS NULL THEN NULL ELSE '2026-03-01T10:02:30+00:00' END,"
            " round_at = '2026-03-01T10:03:09+00:00' WHERE id = ?",
            (recording.id,),
        )


def worker_words(summary: SessionSummary) -> list[str]:
    """As `tui.model.progress` has it, of a worker whose pid and host do not depend on the run of the test."""
    return _worker_words(summary if summary.pid is None else replace(summary, pid=4711, host="gpu-box"))


def make_finished(database: Path) -> Recording:
    """A session that is over: eight prompts, one of them failed."""
    recording = Recording(database)
    recording.begin()
    for index in range(8):
        if index == 5:
            recording.fail_prompt("the prompt is 9000 tokens long; the model reads 8192")
        else:
            recording.prompt(tokens=60)
    recording.end()
    at_fixed_times(recording)
    return recording


def make_running(database: Path) -> Recording:
    """A session in the middle of its third prompt."""
    recording = Recording(database, name="brave-otter")
    recording.begin()
    recording.prompt(tokens=60)
    recording.prompt(tokens=60)
    recording.prompt(tokens=200, finish=None)
    at_fixed_times(recording)
    return recording


def make_several(database: Path) -> None:
    """A database with a session of every kind, the oldest finished."""
    finished = make_finished(database)
    set_tags(finished.db, finished.id, ["cpu", "study"])
    set_notes(finished.db, finished.id, "before the new head")
    for name, status, error in (
        ("brave-otter", "stopped", None),
        ("old-maple", "failed", "the model needs 31 GB, 8 GB are free"),
        ("tall-wren", None, None),
    ):
        other = Recording(database, name=name, tasks=("code", "rag"), prompts=4)
        other.begin()
        other.prompt(tokens=30)
        if status:
            other.end(status, error=error)
        at_fixed_times(other)


def make_compared(database: Path) -> None:
    """Two finished runs of the same prompts, answers to two of which part, and one that has not begun."""
    apples, plan = TEXTS["math"], TEXTS["chat"]
    for name, tree, texts in (
        ("quiet-heron", "full:3x2", {}),
        (
            "tall-wren",
            "full:4x2",
            {"math": apples.replace("apples", "pears"), "chat": plan.replace("calm", "busy")},
        ),
    ):
        run = Recording(database, name=name, prompts=4, tree=tree, texts=texts)
        run.begin()
        for _ in range(4):
            run.prompt(tokens=60)
        run.end()
        at_fixed_times(run)
    late = Recording(database, name="brave-otter", prompts=4)
    at_fixed_times(late)


def compared(database: Path) -> None:
    """The list of those."""
    make_compared(database)


def nothing(database: Path) -> None:
    """A database without a session."""
    from spectui.store.database import connect

    connect(database).close()


def finished(database: Path) -> int:
    """The finished session, opened."""
    return make_finished(database).id


def running(database: Path) -> int:
    """The running session, opened."""
    return make_running(database).id


def failed(database: Path) -> int:
    """A session whose run failed before its first round, opened."""
    recording = Recording(database, name="old-maple")
    recording.begin()
    recording.end("failed", error="the model needs 31 GB, 8 GB are free; choose a smaller --target")
    at_fixed_times(recording)
    return recording.id


def watched(database: Path) -> int:
    """Three servers of one model that were watched for eight minutes, the last two of them plain and under n-grams."""
    from spectui.servers.metrics import read_page
    from spectui.servers.watch.server import Watched
    from spectui.store.database import connect
    from spectui.store.sources import Server
    from spectui.store.writing.samples import SampleWriter, create_watch
    from tests.servers.watch.fake import SETUPS
    from tests.servers.watch.simulated import Simulated

    db = connect(database)
    begin = datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()
    ids = []
    for place, drafter in enumerate(("eagle", "plain", "ngram")):
        url = f"http://gpu{place}:8000"
        session = create_watch(db, Server("vLLM", url, "smol", "0.32.0", drafter), "g")
        writer, server = SampleWriter(db, session), Watched(url, url)
        writer.claim()
        slow = replace(SETUPS[drafter], step_ms=60.0, draft_ms=75.0 if drafter == "ngram" else 15.0)
        running = Simulated(replace(slow, concurrency=3), seed=place, started=begin)
        for minute in range(1, 49):
            running.run(10.0)
            if minute == 30 and place == 0:  # restarted with the same draft
                running = Simulated(running.setup, seed=7, started=running.now)
                running.run(5.0)
            server.take(read_page(running.vllm(), running.now))
        samples, happened = server.unsaved()
        writer.add(samples, [(one.at, one.kind, one.text) for one in happened])
        writer.set_status("finished")
        with db:
            db.execute("UPDATE session SET name = ? WHERE id = ?", (f"quiet-server-{place}", session))
        ids.append(session)
    return ids[0]


def on_server(database: Path) -> int:
    """A finished session of a llama.cpp server, opened: its last prompt has nodes without figures, and a plain step."""
    recording = Recording(database, name="keen-swift", prompts=4)
    recording.begin()
    recording.db.execute("DELETE FROM baseline")
    recording.db.execute(
        "UPDATE session SET baseline_ms = NULL, baseline_low_ms = NULL, baseline_high_ms = NULL"
    )
    writer, words = (
        recording.writer,
        ["A", "calm", "plan", "begins", "with", "a", "list,", "and", "ends", "with", "a", "walk."],
    )
    server = Server("llama.cpp", "http://127.0.0.1:8080", "smol", "b7000", "draft-eagle3")
    writer.describe(
        target="smol", drafter=server.method, tree="chain:3", device=server.name, tokenizer_id="server session 1",
        source="llama.cpp stream", server_json=server.to_json(),
    )  # fmt: skip
    pieces = {UNKNOWN_TOKEN: "▯".encode()} | {place: f" {word}".encode() for place, word in enumerate(words)}
    writer.add_tokens("server session 1", pieces)
    for shift, generation in enumerate(recording.queue):
        writer.start_generation(generation.id)
        writer.note_prompt(generation.id, 30, 0)
        place = 1
        for number, (drafted, accepted) in enumerate(((3, 3 - shift % 2), (3, 1), (0, 0), (3, 2)), 1):
            tokens = tuple(range(place, place + accepted + 1))
            each = ServerRound(drafted, accepted, accepted + 1, 40.0, tokens, 30 + place)
            writer.record_round(generation.id, to_record(number, each))
            place += accepted + 1
        output = " ".join(words[:place])
        writer.finish_generation(generation.id, "finished", output=output, finish_reason="length")
    recording.end()
    at_fixed_times(recording)
    return recording.id
