"""The worker as a real process: it records, obeys, survives what it must, and says why it failed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.worker import launch
from spectui.store.care.check import check
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.rows import SessionSummary
from spectui.store.sessions import create_session, send_command
from tests.decoding.worker.workers import end_forked, forked
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer
from tests.waiting import until

TEXTS = [
    ("code", "Write a function."),
    ("logic", "Tom is a cat."),
    ("math", "9:40 plus 2 hours"),
    ("rag", "日本語"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama(folder, context=4096)
    return folder


@pytest.fixture(scope="module")
def endless(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model without an end token: what is to be caught at work ends by its length alone."""
    folder = tmp_path_factory.mktemp("endless") / "model"
    shutil.copytree(model, folder)
    for name, key in (
        ("config.json", "eos_token_id"),
        ("generation_config.json", "eos_token_id"),
        ("tokenizer_config.json", "eos_token"),
    ):
        values = json.loads((folder / name).read_text())
        assert key in values
        (folder / name).write_text(json.dumps({**values, key: None}))
    return folder


class Session:
    """A session in a fresh database and the worker started for it."""

    def __init__(self, folder: Path, config: RunConfig, texts: list[tuple[str, str]]) -> None:
        self.database = folder / "private" / "runs.db"
        self._db = open_database(self.database)
        records = [PromptRecord(f"{task}-{i}", task, text) for i, (task, text) in enumerate(texts)]
        self.id = create_session(
            self._db, name="test", config_json=config.to_json(), target=config.target, drafter=config.draft,
            tree=config.tree_label, prompts=records,
        )  # fmt: skip
        self.reader = Reader(self.database)
        self.pid = launch.launch_worker(self.database, self.id)

    def now(self) -> SessionSummary:
        return self.reader.session(self.id)

    def send(self, kind: str) -> None:
        send_command(self._db, self.id, kind)

    def until_status(self, *wanted: str) -> SessionSummary:
        until(lambda: self.now().status in wanted, what=lambda: f"{wanted}, not {self.now()}")
        return self.now()

    def until_rounds(self, count: int) -> None:
        until(lambda: self.now().rounds >= count, what=lambda: f"{count} rounds, {self.now()}")

    def end(self) -> None:
        if psutil.pid_exists(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        self.reader.close()
        self._db.close()


Start = Callable[..., Session]


@pytest.fixture
def start_afresh(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Sessions with workers that are started as users' are, which takes four seconds of imports."""
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "logs"))
    # Models this small only lose time to a second thread.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started: list[Session] = []

    def start_one(texts: list[tuple[str, str]] = TEXTS, **config: object) -> Session:
        run = RunConfig(**{"target": str(model), "max_new_tokens": 20, **config})  # type: ignore[arg-type]
        started.append(Session(tmp_path, run, texts))
        return started[-1]

    yield start_one
    for session in started:
        session.end()


@pytest.fixture
def start(start_afresh: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Sessions with forked workers."""
    monkeypatch.setattr(launch, "start", forked)
    yield start_afresh
    end_forked()


def test_a_run_from_start_to_end_is_recorded_whole(start_afresh: Start, model: Path) -> None:
    session = start_afresh(draft=str(model), tree="full:2x2")
    done = session.until_status("finished", "failed")
    assert done.status == "finished", done.error
    assert done.prompts_done == len(TEXTS)
    assert done.nodes == 6 * done.rounds
    assert done.baseline_ms is not None
    assert done.baseline_ms > 0
    assert done.baseline_count >= 1
    assert done.device == "cpu"
    assert done.versions["torch"]
    reference = tiny_llama(context=4096)
    tokenizer = tiny_tokenizer()
    for generation in session.reader.generations(session.id):
        rounds = session.reader.rounds(generation.id)
        ids = [t for r in rounds for t in r.emitted]
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": generation.prompt_text}], tokenize=True, add_generation_prompt=True
        )["input_ids"]
        assert ids == greedy_reference(reference, list(prompt), 20)
        assert len(ids) == generation.token_count
        assert generation.output == tokenizer.decode(ids, skip_special_tokens=True)
        known = session.reader.tokens(
            done.tokenizer_id, {n.token_id for r in rounds for n in r.nodes} | set(ids)
        )
        assert b"".join(known[i] for i in ids) == tokenizer.decode(ids).encode() or b"\xef\xbf\xbd" in (
            tokenizer.decode(ids).encode()
        )
        for row in rounds:
            assert all(node.draft_p is not None and node.draft_entropy is not None for node in row.nodes)
    assert check(open_database(session.database)) == []


def test_recycling_records_no_probabilities(start: Start) -> None:
    session = start()
    assert session.until_status("finished", "failed").status == "finished"
    generation = session.reader.generations(session.id)[0]
    for row in session.reader.rounds(generation.id):
        assert row.node_count == 8 == len(row.nodes)
        assert {node.draft_p for node in row.nodes} == {node.draft_entropy for node in row.nodes} == {None}


def test_the_tree_that_was_chosen_is_recorded_and_can_be_run_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_MEASURE", "1")
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    session = start()
    done = session.until_status("finished", "failed")
    assert done.status == "finished", done.error
    config = RunConfig.from_dict(done.config)
    assert done.tree == config.tree == config.tree_spec
    shape = config.shape()
    # The context's end aside, every round of every task had this tree.
    rounds = [r for g in session.reader.generations(session.id) for r in session.reader.rounds(g.id)]
    assert {r.node_count for r in rounds} == {shape.size}


def test_pause_resume_skip_and_stop_are_obeyed_between_rounds(start: Start, endless: Path) -> None:
    session = start(target=str(endless), max_new_tokens=3000, draft="recycling", tree="chain:1")
    session.until_rounds(5)
    session.send("pause")
    session.until_status("paused")
    frozen = session.now().rounds
    session.send("skip")
    session.until_status("running")
    session.until_rounds(frozen + 5)
    first = session.reader.generations(session.id)[0]
    assert (first.status, first.finish_reason) == ("skipped", "skipped")
    session.send("pause")
    session.until_status("paused")
    session.send("resume")
    session.until_status("running")
    session.send("stop")
    stopped = session.until_status("stopped")
    assert stopped.ended_at is not None
    statuses = [g.status for g in session.reader.generations(session.id)]
    assert statuses[0] == "skipped"
    assert statuses[-1] == "pending"
    assert session.reader.pending_commands(session.id) == []
    until(lambda: not psutil.pid_exists(session.pid))
    assert check(open_database(session.database)) == []


def test_a_lost_terminal_does_not_stop_it_and_sigterm_stops_it_in_order(
    start_afresh: Start, endless: Path
) -> None:
    """It is a process session of its own."""
    session = start_afresh(target=str(endless), max_new_tokens=3000, tree="chain:1")
    session.until_rounds(3)
    assert os.getsid(session.pid) == session.pid != os.getsid(0)
    os.kill(session.pid, signal.SIGHUP)
    session.until_rounds(session.now().rounds + 5)
    os.kill(session.pid, signal.SIGTERM)
    assert session.until_status("stopped", "interrupted").status == "stopped"
    assert check(open_database(session.database)) == []


def test_a_killed_worker_reads_as_interrupted_and_leaves_whole_rounds(start: Start, endless: Path) -> None:
    session = start(target=str(endless), max_new_tokens=3000, tree="full:2x2")
    session.until_rounds(10)
    os.kill(session.pid, signal.SIGKILL)
    assert session.until_status("interrupted").rounds >= 10
    assert check(open_database(session.database)) == []


def test_a_failing_prompt_is_recorded_and_the_run_goes_on(start: Start) -> None:
    session = start(texts=[("chat", "word " * 6000), *TEXTS])
    assert session.until_status("finished", "failed").status == "finished"
    generations = session.reader.generations(session.id)
    assert generations[0].status == "failed"
    assert generations[0].error is not None
    assert "context" in generations[0].error
    assert [g.status for g in generations[1:]] == ["finished"] * len(TEXTS)


def test_a_model_that_cannot_be_loaded_fails_the_session_in_one_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    failed = start(target=str(tmp_path / "broken")).until_status("failed", "interrupted")
    assert failed.status == "failed"
    assert failed.error is not None
    assert "\n" not in failed.error
    assert "broken" in failed.error


def test_two_workers_on_one_session_are_refused(start: Start, endless: Path) -> None:
    session = start(target=str(endless), max_new_tokens=3000, tree="chain:1")
    session.until_rounds(1)
    session.send("pause")  # a second worker takes seconds to start
    until(lambda: session.now().status == "paused")
    command = [
        sys.executable,
        "-m",
        "spectui.decoding.worker.__main__",
        "--db",
        str(session.database),
        "--session",
        str(session.id),
    ]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "Traceback" not in second.stderr
    assert psutil.pid_exists(session.pid)


def test_tasks_take_turns() -> None:
    """Histograms fill evenly only if no task waits for another to be done."""
    order = [p.task for p in prompts.interleave(prompts.bundled(per_task=3))]
    assert all(len(set(order[i : i + 4])) == 4 for i in range(0, len(order), 4))
