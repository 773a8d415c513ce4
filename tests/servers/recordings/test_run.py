"""Protects: a run on a server with our recorder has every node of its own requests, and no one else's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spectui.servers.recordings.local import recorder_folder
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.servers.recorded_vllm import RecordedVllm
from tests.servers.recordings.recorder import ANSWERS, ENGINE, WORKER
from tests.servers.scripted import Reply, ScriptedServer, as_json, as_stream
from tests.servers.sessions import new_session, work

PROMPTS = [(answer["task"], answer["id"]) for answer in ANSWERS]


class RecordingVllm(RecordedVllm):
    """Answers as a real vLLM did, and writes what its recorder wrote, under the names that its client gives."""

    server: ScriptedServer

    def __init__(self, folder: Path, *, silent: bool = False) -> None:
        super().__init__("eagle3", detailed=False)
        self.answers = ANSWERS
        folder.mkdir()
        self._files = {"engine": folder / "1-1-engine.jsonl", "worker": folder / "1-2-worker.jsonl"}
        self._silent = silent
        for file, lines in zip(self._files.values(), (ENGINE, WORKER), strict=True):
            file.write_bytes(lines[0] + b'["step", cut')  # what is there before is of no interest

    def _chat(self, request: dict[str, Any]) -> Reply:
        asked = self.server.headers.get("x-request-id", "")
        if not request["stream"]:
            self._record(ANSWERS[0]["id"], asked)
            return as_json(ANSWERS[0]["resp"] | {"metrics": None})
        answer = ANSWERS[self._next % len(ANSWERS)]
        self._next += 1
        return as_stream(self._recorded_events(answer, asked))

    def _recorded_events(self, answer: dict[str, Any], asked: str) -> Iterator[dict[str, Any]]:
        """Half of its rows are there before the answer, the rest after its end."""
        events = list(self._events({**answer["resp"], "metrics": answer["resp"]["metrics"]}))
        self._record("chat-002", "of-another-client")
        yield from events
        self._record(answer["id"], asked)

    def _record(self, prompt: str, asked: str) -> None:
        if self._silent:
            return
        for file, lines in zip(self._files.values(), (ENGINE, WORKER), strict=True):
            of_prompt = [line for line in lines if f"-{prompt}-".encode() in line]
            with file.open("ab") as out:
                out.write(b"\n")
                out.write(b"".join(of_prompt).replace(f"-{prompt}-".encode(), f"-{asked}-".encode()))


def run_on(vllm: RecordingVllm, database: Path, **config: object) -> int:
    with ScriptedServer(vllm.routes) as server:
        vllm.server = server
        session = new_session(database, server.address, PROMPTS, max_new_tokens=64, **config)
        return work(database, session)


def test_a_run_has_every_node_of_its_requests(tmp_path: Path) -> None:
    vllm, database = RecordingVllm(tmp_path / "recorded"), tmp_path / "runs.db"
    assert run_on(vllm, database, vllm_dir=str(tmp_path / "recorded")) == 0
    with Reader(database) as reader:
        summary = reader.session(1)
        assert (summary.source, summary.tree, summary.of_clients) == ("vLLM recorder", "chain:3", False)
        assert (summary.rounds, summary.nodes, summary.drafter) == (189, 567, "eagle3")
        assert (summary.greedy_rounds, summary.explained_rounds) == (189, 189)
        for row, answer in zip(reader.generations(1), ANSWERS, strict=True):
            choice = answer["resp"]["choices"][0]
            emitted = [token for each in reader.rounds(row.id) for token in each.emitted]
            assert [row.first_token_id, *emitted] == choice["token_ids"]
            assert row.output == choice["message"]["content"]
            assert row.prompt_tokens == answer["resp"]["usage"]["prompt_tokens"]
        assert set(reader.fetch('SELECT count(draft_p), count(target_p), count("match") FROM node')) == {
            (567,) * 3
        }
    db = connect(database)
    assert check(db) == []
    db.close()
    assert {
        body.get("vllm_xargs", {}).get("task") for path, body in vllm.server.asked if body.get("stream")
    } == {task for task, _ in PROMPTS}


def test_a_folder_that_is_not_the_servers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.servers.answers.recorded.WAIT_S", 0.1)
    vllm = RecordingVllm(tmp_path / "recorded", silent=True)
    assert run_on(vllm, tmp_path / "runs.db", vllm_dir=str(tmp_path / "recorded")) == 1
    with Reader(tmp_path / "runs.db") as reader:
        assert "SPECTUI_VLLM_DIR" in (reader.session(1).error or "")


LISTENER = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps(listener.getsockname()[1]), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("named", "expected"), [("/srv/recorded", "/srv/recorded"), ("here", "{cwd}/here"), (None, None)]
)
def test_the_recorder_of_a_server_on_this_machine_is_found(
    tmp_path: Path, named: str | None, expected: str | None
) -> None:
    environment = {} if named is None else {"SPECTUI_VLLM_DIR": named}
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER], env=environment, cwd=tmp_path, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())
        folder = recorder_folder(f"http://127.0.0.1:{port}")
        elsewhere = recorder_folder(f"http://192.0.2.1:{port}")
        process.communicate()
    assert folder == (None if expected is None else Path(expected.format(cwd=tmp_path)))
    assert elsewhere is None
