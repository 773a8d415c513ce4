"""A real vLLM, greedy: rounds are its own arrays and counters, outputs are ours. ``make test-vllm``; minutes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.prompts import bundled, interleave
from spectui.servers.answers.vllm import steps_of
from spectui.servers.client import Client
from spectui.servers.metrics import read_page
from spectui.servers.watch.figures import between
from spectui.store.reading.reader import Reader
from spectui.store.reading.steps import rounds_alike
from spectui.store.samples import Sample
from spectui.tui.cli import main
from tests.servers.sessions import new_session, work
from tests.servers.vllm_server import DRAFTED, METHODS, MODEL, PYTHON, VllmServer

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="vLLM has an environment of its own: make test-vllm"),
    pytest.mark.timeout(1200),
]
TOKENS = 48
PER_TASK = 2
PROMPTS = [
    prompt
    for prompt in interleave(bundled())
    if prompt.id.endswith(tuple(f"-{n:03d}" for n in range(1, PER_TASK + 1)))
]


@dataclass(frozen=True)
class Ran:
    """A session on a vLLM server, and what the server counted meanwhile."""

    method: str
    address: str
    database: Path
    session: int


@pytest.fixture(scope="module", params=METHODS)
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ours: Path
) -> Iterator[Ran]:
    """The prompts on a server with each method, beside the session of our own engine."""
    folder = tmp_path_factory.mktemp(request.param)
    with VllmServer(folder / "vllm.log", request.param) as server:
        texts = [(prompt.task, prompt.text) for prompt in PROMPTS]
        session = new_session(ours, server.address, texts, max_new_tokens=TOKENS)
        assert work(ours, session) == 0
        yield Ran(request.param, server.address, ours, session)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose session 1 is the same prompts on our own engine, with the same head."""
    database = tmp_path_factory.mktemp("ours") / "runs.db"
    arguments = [
        "run", "--db", str(database), "--per-task", str(PER_TASK), "--max-new-tokens", str(TOKENS), "--draft", "eagle",
        "--tree", "chain:3", "--dtype", "float32", "--headless",
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return database


def counted(address: str) -> Sample:
    with Client(address) as client:
        return read_page(client.text("/metrics"), time.time())


def rounds(ran: Ran) -> list[list[tuple[int, int]]]:
    """Drafted and accepted of each round with a draft, prompt by prompt."""
    with Reader(ran.database) as reader:
        return [
            [(row.node_count, row.accepted_length) for row in reader.rounds(generation.id) if row.node_count]
            for generation in reader.generations(ran.session)
        ]


def test_rounds_are_those_of_the_requests_arrays_and_of_the_counters(ran: Ran) -> None:
    """But for the last one of an answer, of which the server counts what it accepted beyond the end, too."""
    beyond, lengths = 0, Counter[int]()
    of_session, before = rounds(ran), counted(ran.address)
    with Client(ran.address) as client:
        for prompt, recorded in zip(PROMPTS, of_session, strict=True):
            answer = client.post(
                "/v1/chat/completions",
                {"model": MODEL, "messages": [{"role": "user", "content": prompt.text}], "max_tokens": TOKENS,
                 "temperature": 0},
            )  # fmt: skip
            steps = steps_of(answer["metrics"]["speculative_decoding"])
            lengths.update(accepted for _, accepted in steps)
            assert [drafted for drafted, _ in recorded] == [drafted for drafted, _ in steps], prompt.id
            assert recorded[:-1] == steps[:-1], prompt.id
            if steps:
                assert recorded[-1][1] <= steps[-1][1]
                beyond += steps[-1][1] - recorded[-1][1]
    every, after = [one for each in of_session for one in each], counted(ran.address)
    accepted = sum(accepted for _, accepted in every)
    assert len(every) == (after.drafts or 0) - (before.drafts or 0) > 0
    assert sum(drafted for drafted, _ in every) == (after.drafted or 0) - (before.drafted or 0)
    assert accepted + beyond == (after.accepted or 0) - (before.accepted or 0)
    watched = between(before, after)  # as `spectui watch` reads the counters
    assert watched.lengths == [lengths[length] for length in range(DRAFTED + 1)]
    if ran.method == "draft_model":  # its own target
        assert all(accepted == drafted for each in of_session for drafted, accepted in each[:-1])
    with Reader(ran.database) as reader:
        summary = reader.session(ran.session)
    assert summary.source == "vLLM detailed"
    assert summary.server is not None
    assert summary.server.kind == "vLLM"


def test_outputs_are_those_of_our_own_engine(ran: Ran) -> None:
    with Reader(ran.database) as reader:
        ours, theirs = (
            {row.prompt_text: row.output for row in reader.generations(session)}
            for session in (1, ran.session)
        )
    assert theirs == ours


def test_the_head_accepts_the_same_as_here(ran: Ran) -> None:
    if ran.method != "eagle3":
        pytest.skip("another drafter than here")
    with Reader(ran.database) as reader, reader.snapshot():
        alike = rounds_alike(reader, 1, ran.session)
    assert alike.rounds > 20 * len(PROMPTS) / 2
    assert alike.same + alike.last == alike.rounds
    assert alike.last <= len(PROMPTS)


def test_the_audit_finds_it_lossless(ran: Ran) -> None:
    arguments = ["audit", "--server", ran.address, "--per-task", "1", "--max-new-tokens", "32", "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["verdict"] in ("identical", "tie")
    assert result["limit_nats"] < 0.1  # both compute in float32


def test_a_watch_sees_it(ran: Ran) -> None:
    done = CliRunner().invoke(main, ["watch", ran.address, "--once", "--json", "--db", str(ran.database)])
    assert done.exit_code == 0, done.output
    (server,) = json.loads(done.stdout)["servers"]
    assert server["engine"] == "vllm"
    assert server["state"] in ("idle", "live")
