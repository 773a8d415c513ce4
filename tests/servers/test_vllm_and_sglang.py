"""Protects: rounds of vLLM and SGLang as their recorded answers tell them, by every source."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spectui.servers.answers.base import Pieces, Question
from spectui.servers.answers.llama import LlamaReading
from spectui.servers.answers.vllm import Counts, DetailedReading, interleaved, rounds_of_counts
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.rounds import ServerRound
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from tests.servers.recorded_vllm import RecordedVllm, sizes_of
from tests.servers.scripted import RECORDED, Reply, ScriptedServer, as_json, as_stream
from tests.servers.sessions import new_session, work

PROMPTS = [(task, f"{task} {number}") for task in ("chat", "code", "logic", "math") for number in (1, 2)]


def run_on(vllm: RecordedVllm, database: Path, **config: object) -> None:
    with ScriptedServer(vllm.routes) as server:
        session = new_session(database, server.address, PROMPTS, max_new_tokens=64, **config)
        assert work(database, session) == 0
    db = connect(database)
    assert check(db) == []
    db.close()


@pytest.mark.parametrize(("method", "drafted"), [("eagle3", 3), ("ngram", 3), ("suffix", 8)])
def test_per_request_arrays_are_the_rounds(method: str, drafted: int, tmp_path: Path) -> None:
    vllm, database = RecordedVllm(method), tmp_path / "runs.db"
    run_on(vllm, database)
    with Reader(database) as reader:
        summary = reader.session(1)
        assert (summary.source, summary.target, summary.tree) == ("vLLM detailed", "smol", f"chain:{drafted}")
        for generation, recorded in zip(reader.generations(1), vllm.answers, strict=True):
            answer = recorded["resp"]
            details = answer["metrics"]["speculative_decoding"]
            rounds = reader.rounds(generation.id)
            drafting = [row for row in rounds if row.node_count]
            assert [row.node_count for row in drafting] == details["per_step_drafted"]
            *before, last = details["per_step_accepted"]
            assert [row.accepted_length for row in drafting[:-1]] == before
            # Beyond the end of the output vLLM counts what was accepted, too.
            assert drafting[-1].accepted_length <= last
            assert 1 + generation.token_count == answer["usage"]["completion_tokens"]
            assert generation.output == answer["choices"][0]["message"]["content"]
            if method == "eagle3":  # drafts in every step, so that each round's place is known
                prompt = answer["usage"]["prompt_tokens"]
                assert [row.prefix_length for row in rounds[:2]] == [prompt + 1, prompt + 2 + before[0]]
            else:  # steps without a draft lie between them, of which the chunks tell where
                assert [len(row.emitted) for row in rounds] == sizes_of(answer)[1:]
                prompt = answer["usage"]["prompt_tokens"]
                place = prompt + 1
                for row in rounds:
                    assert row.prefix_length in (None, place)
                    assert row.prefix_length == place or row.accepted_length == 0
                    place += len(row.emitted)


def test_rounds_are_found_between_plain_steps_by_the_sizes_of_chunks() -> None:
    rounds = [ServerRound(3, a, a + 1) for a in (2, 0, 1)]
    steps = interleaved(rounds, [1, 3, 1, 1, 2, 1])
    assert [(each.drafted, each.emitted, known) for each, known in steps] == [
        (0, 1, True), (3, 3, True), (3, 1, False), (0, 1, False), (3, 2, True), (0, 1, True),
    ]  # fmt: skip
    assert interleaved(rounds, [1, 3, 2, 2, 1]) == []  # merged
    assert interleaved(rounds, [3, 1]) == []
    cut = [ServerRound(3, 2, 3), ServerRound(3, 1, 1, cut="length")]
    assert [each.cut for each, _ in interleaved(cut, [3, 1, 1])] == [None, None, "length"]


def test_what_was_accepted_beyond_the_end_is_cut_between_plain_steps_too() -> None:
    reading = DetailedReading(Question("m", (), 8, 0.0, 1.0, 0), Pieces())
    for size in (1, 1, 3, 1, 2):
        reading.feed({"choices": [{"delta": {"content": "x" * size}, "token_ids": [7] * size}]}, 0.0)
    details = {"per_step_drafted": [3, 3], "per_step_accepted": [2, 3]}
    reading.feed(
        {
            "choices": [{"delta": {}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 8},
            "metrics": {"speculative_decoding": details},
        },
        0.0,
    )
    rounds = reading.close().rounds
    assert [(r.drafted, r.accepted, r.emitted, r.cut) for r in rounds] == [
        (0, 0, 1, None), (3, 2, 3, None), (0, 0, 1, None), (3, 2, 2, "length"),
    ]  # fmt: skip
    assert [r.prefix_length for r in rounds] == [6, 7, 10, 11]


def test_counters_of_one_request_at_a_time_give_the_same_figures_but_for_the_ends(tmp_path: Path) -> None:
    detailed, counted = tmp_path / "detailed.db", tmp_path / "counted.db"
    run_on(RecordedVllm("eagle3"), detailed)
    run_on(RecordedVllm("eagle3", detailed=False), counted)
    with Reader(detailed) as one, Reader(counted) as two:
        assert two.session(1).source == "counters"
        assert any("--per-request-spec-decode-metrics" in event.text for event in two.events(1))
        for a, b in zip(one.generations(1), two.generations(1), strict=True):
            assert (a.round_count, a.node_count, a.token_count) == (
                b.round_count,
                b.node_count,
                b.token_count,
            )
            assert a.accepted_count == b.accepted_count
            assert a.output == b.output


def test_counters_that_others_move_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.servers.worker.session.BACK_OFF_SECONDS", (0.0,) * 3)
    vllm = RecordedVllm("eagle3", detailed=False, traffic=5)
    vllm.answers *= 3
    run_on(vllm, tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        rows = reader.generations(1)
        assert {row.status for row in rows} == {"failed"}
        assert "others use it" in (rows[0].error or "")
        assert reader.session(1).rounds == 0


def test_chunks_are_an_estimate_where_several_are_in_flight(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    run_on(RecordedVllm("eagle3", detailed=False), database, concurrency=2)
    with Reader(database) as reader:
        summary = reader.session(1)
        assert (summary.source, summary.rounds_from.exact) == ("chunks", False)
        assert summary.tokens + 8 == sum(
            a["resp"]["usage"]["completion_tokens"] for a in RecordedVllm("eagle3").answers
        )


def test_an_estimate_is_called_one_in_a_terminal(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    run_on(RecordedVllm("eagle3", detailed=False), database, concurrency=2)
    shown = CliRunner().invoke(main, ["sessions", "show", "last", "--db", str(database)]).output
    assert "rounds of vLLM 0.32.0, from the sizes of streamed chunks, an estimate" in shown


def test_counts_that_cannot_be_are_refused_before_they_are_rounds() -> None:
    """Each count a round, they would fill memory."""
    for drafts, drafted in ((10**12, 10**13), (2, 10**12)):
        with pytest.raises(ServerError, match=r"1e\+12 rounds|5e\+11 draft tokens"):
            rounds_of_counts(Counts(drafts, drafted, 0, (0,), 64), 64)
    with pytest.raises(ServerError, match=r"1e\+08 draft tokens"):
        llama_rounds(
            {"predicted_n": 1, "predicted_ms": 0.001},
            {"predicted_n": 3, "predicted_ms": 5.0, "draft_n": 10**8, "draft_n_accepted": 1},
        )


def test_a_time_that_cannot_be_is_none_of_a_round() -> None:
    times = (0.001, 5.0, math.inf, 9.0)
    rounds = llama_rounds(*({"predicted_n": n, "predicted_ms": ms} for n, ms in enumerate(times, 1)))
    assert len(rounds) == 3
    assert sum(each.ms or 0.0 for each in rounds) == pytest.approx(9.0, abs=0.01)


def llama_rounds(*timings: dict[str, Any]) -> list[ServerRound]:
    reading, rounds = LlamaReading(Question("m", (), 24, 0.0, 1.0, 0), Pieces()), list[ServerRound]()
    for each in timings:
        end = "length" if each is timings[-1] else None
        rounds += reading.feed(
            {"choices": [{"delta": {"content": "x"}, "finish_reason": end}], "timings": each}, 0.0
        )
    return [*rounds, *reading.close().rounds]


def test_a_server_without_speculation_decodes_one_token_a_round(tmp_path: Path) -> None:
    vllm = RecordedVllm("eagle3", detailed=False)
    vllm._page = (RECORDED / "vllm-metrics-none.txt").read_text()
    for answer in vllm.answers:
        details = answer["resp"]["metrics"]["speculative_decoding"]
        details |= {
            "per_step_accepted": [],
            "num_spec_steps": 0,
            "num_draft_tokens": 0,
            "num_accepted_draft_tokens": 0,
        }
    run_on(vllm, tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        summary = reader.session(1)
        assert (summary.source, summary.nodes, summary.tokens_per_round) == ("counters", 0, 1.0)
        assert any("does not speculate" in event.text for event in reader.events(1))


def test_the_stream_of_llama_is_read_into_its_rounds() -> None:
    """Byte for byte as it was recorded: all drafts accepted, the last one cut to what there was room for."""
    reading = LlamaReading(Question("m", (), 24, 0.0, 1.0, 0), Pieces())
    rounds = []
    stream = lambda _: Reply((RECORDED / "llamacpp-stream.txt").read_bytes(), "text/event-stream")  # noqa: E731
    with ScriptedServer({reading.path: stream}) as server, Client(server.address) as client:
        for event in client.stream(reading.path, reading.body()):
            rounds += reading.feed(event, 0.0)
    answer = reading.close()
    rounds += answer.rounds
    assert [(r.drafted, r.accepted, r.emitted) for r in rounds] == [(3, 3, 4)] * 5 + [(2, 2, 3)]
    assert [r.prefix_length for r in rounds] == [39 + 4 * i for i in range(6)]
    assert [r.cut for r in rounds] == [None] * 5 + ["length"]
    assert rounds[0].ms == pytest.approx(203.767)
    assert (answer.tokens, answer.reason) == (24, "length")


SGLANG: dict[str, Any] = {
    "spec_accept_rate": 0.5,
    "spec_accept_length": 2.5,
    "spec_num_correct_drafts": 6,
    "spec_num_proposed_drafts": 12,
    "spec_verify_ct": 4,
    "spec_correct_drafts_histogram": [1, 1, 1, 1],
}


def sglang(details: dict[str, Any] | None) -> ScriptedServer:
    extension = {} if details is None else {"sglext": {"spec_tokens_details": details}}

    def chat(request: dict[str, Any]) -> Reply:
        assert request["return_spec_tokens_details"] is True
        if not request["stream"]:
            return as_json({"choices": [], **extension})
        usage = {"prompt_tokens": 9, "completion_tokens": 11}
        return as_stream(
            [
                {"choices": [{"index": 0, "delta": {"content": "one two "}}]},
                {"choices": [{"index": 0, "delta": {"content": "three"}, "finish_reason": "length"}]},
                {"choices": [], **extension},
                {"choices": [], "usage": usage},
            ]
        )

    return ScriptedServer(
        {
            "/v1/models": lambda _: as_json({"data": [{"id": "qwen", "owned_by": "sglang"}]}),
            "/server_info": lambda _: as_json({"version": "0.5.23", "speculative_algorithm": "EAGLE3"}),
            "/v1/chat/completions": chat,
        }
    )


def test_a_histogram_of_sglang_is_rounds_in_no_order(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    with sglang(SGLANG) as server:
        session = new_session(database, server.address, PROMPTS[:1], max_new_tokens=11)
        assert work(database, session) == 0
        assert server.headers["x-custom-labels"] == '{"task": "chat"}'
    with Reader(database) as reader:
        summary = reader.session(session)
        assert (summary.source, summary.rounds_from.ordered, summary.drafter) == (
            "SGLang histogram",
            False,
            "EAGLE3",
        )
        assert reader.figures(session)["chat"].lengths == {0: 1, 1: 1, 2: 1, 3: 1}
        assert (summary.nodes, summary.tokens, summary.mean_accepted_length) == (12, 10, 1.5)
        assert reader.generations(session)[0].output == "one two three"


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (None, "needs 0.5.19 or newer"),
        (SGLANG | {"spec_correct_drafts_histogram": [9, 1]}, "as many rounds as it verified"),
        (SGLANG | {"spec_verify_ct": None}, "not as they should be"),
        (
            SGLANG | {"spec_correct_drafts_histogram": [10**12, 1], "spec_verify_ct": 10**12 + 1},
            "rounds for an answer of 11 tokens",
        ),
        (
            SGLANG | {"spec_correct_drafts_histogram": [1] * 20_000, "spec_verify_ct": 20_000},
            "not as they should",
        ),
    ],
)
def test_sglang_without_sound_details_is_refused_in_one_line(
    details: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    database = tmp_path / "runs.db"
    with sglang(details) as server:
        session = new_session(database, server.address, PROMPTS[:1], max_new_tokens=11)
        work(database, session)
    with Reader(database) as reader:
        error = reader.session(session).error or reader.generations(session)[0].error or ""
    assert reason in error
    assert "\n" not in error
