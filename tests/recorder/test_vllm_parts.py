"""Protects: what a recorder inside vLLM writes is what the server did, and the server does the same without it."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spectui.recorder.parts import Part
from spectui.recorder.vllm import drafts, scheduler, verdicts
from tests.recorder.conftest import Make, Recorder
from tests.recorder.fake_vllm import DRAFTED, SIGNATURES, VOCABULARY, Request, Server, modules

NAMES = ("a", "b", "c", "d")


def requests(max_tokens: int = 24) -> list[Request]:
    return [
        Request(
            f"chatcmpl-{name}-0123456{place}",
            range(5 * place + 1, 5 * place + 9 + place),
            max_tokens,
            task=name,
        )
        for place, name in enumerate(NAMES)
    ]


def ran(recorder: Recorder, max_tokens: int = 24) -> list[list[int]]:
    """Answers of the requests."""
    asked = requests(max_tokens)
    recorder.server.add(*asked[:2])
    recorder.server.step()
    recorder.server.add(*asked[2:])
    recorder.server.run()
    return [request.answer for request in asked]


@pytest.fixture(scope="module")
def answers() -> list[list[int]]:
    """Answers of a server without a recorder."""
    asked = requests()
    server = Server(modules("0.33.0"))
    server.add(*asked[:2])
    server.step()
    server.add(*asked[2:])
    server.run()
    return [request.answer for request in asked]


def figures_of(logits: torch.Tensor, last: int, token: int) -> tuple[float, int, float, float]:
    """Probability of a token, the likeliest token, its probability, and the entropy, in double precision."""
    p = logits[last].double().softmax(-1)
    return float(p[token]), int(p.argmax()), float(p.max()), float(-(p * p.log()).sum())


def check_figures(recorder: Recorder, verdict: list[Any], tokens: list[int]) -> None:
    """All figures of a verdict are those of the tables; `tokens` are those before it."""
    _, prefix, drafted, _, p, argmax, argmax_p, entropy, draft_p, draft_entropy = verdict
    assert prefix == len(tokens)
    last = tokens[-1]
    for level, token in enumerate(drafted):
        expected = figures_of(recorder.server.target, last, token)
        assert (p[level], argmax_p[level], entropy[level]) == pytest.approx(
            (expected[0], *expected[2:]), abs=2e-6
        )
        assert argmax[level] == expected[1]
        expected = figures_of(recorder.server.draft, last, token)
        assert (draft_p[level], draft_entropy[level]) == pytest.approx((expected[0], expected[3]), abs=2e-6)
        last = token


@pytest.mark.parametrize("version", SIGNATURES)
def test_everything_that_the_server_did_is_written(
    make: Make, version: str, answers: list[list[int]]
) -> None:
    recorder = make(version)
    assert ran(recorder) == answers
    assert [part.state for sink in (recorder.engine, recorder.worker) for part in sink.parts] == ["on"] * 4
    assert recorder.records.commits == recorder.server.scheduler.truth
    assert [verdict[:4] for verdict in recorder.records.verdicts] == recorder.server.verified
    drafted = Counter(len(commit[4]) - 1 for commit in recorder.records.commits if commit[2])
    assert set(drafted) == set(range(DRAFTED + 1))  # rounds of every length
    assert {(name, prefix) for name, prefix, number, *_ in recorder.records.commits if number} == {
        (name, prefix) for name, prefix, *_ in recorder.records.verdicts
    }
    whole = {request.request_id: [*request.tokens[: request.num_prompt_tokens], *answer]
             for request, answer in zip(requests(), answers, strict=True)}  # fmt: skip
    for verdict in recorder.records.verdicts:
        check_figures(recorder, verdict, whole[verdict[0]][: verdict[1]])
    asked = recorder.records.objects("req")
    assert [(row["task"], row["prompt"], row["max"]) for row in asked] == [
        (name, 8 + i, 24) for i, name in enumerate(NAMES)
    ]
    ended = {row["id"]: row for row in recorder.records.objects("end")}
    assert {name: row["out"] for name, row in ended.items()} == {
        request.request_id: len(answer) for request, answer in zip(requests(), answers, strict=True)
    }
    first, of_worker = sorted(recorder.records.objects("meta"), key=lambda meta: meta["role"])
    assert (first["format"], first["k"], first["method"], first["vocab"]) == (
        1,
        DRAFTED,
        "eagle3",
        VOCABULARY,
    )
    assert (first["run"], first["role"], of_worker["role"]) == (of_worker["run"], "engine", "worker")
    assert first["switches"] == {
        "target": True, "entropy": True, "draft": True, "ids": True, "sample": 1.0, "max_mb": 1024.0, "keep": "old",
    }  # fmt: skip
    for stat in recorder.records.objects("stat"):
        assert (stat["dropped"], stat["errors"], stat["error"]) == (0, 0, None)


@pytest.mark.parametrize(("rank", "last", "records"), [(0, True, True), (1, True, False), (0, False, False)])
def test_one_process_of_a_group_records(
    make: Make, monkeypatch: pytest.MonkeyPatch, rank: int, last: bool, records: bool
) -> None:
    """Tensor parallel rank 0 of the last stage; all have the same logits."""
    groups = SimpleNamespace(
        get_tensor_model_parallel_rank=lambda: rank, get_pp_group=lambda: SimpleNamespace(is_last_rank=last)
    )
    recorder = make()
    monkeypatch.undo()
    for name, module in {"vllm": SimpleNamespace(__version__="0.0"), "vllm.distributed": SimpleNamespace(),
                         "vllm.distributed.parallel_state": groups}.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    recorder.server.add(*requests())
    recorder.server.run()
    assert recorder.records.commits == recorder.server.scheduler.truth
    assert [verdict[:4] for verdict in recorder.records.verdicts] == (
        recorder.server.verified if records else []
    )
    roles = {meta["role"] for meta in recorder.records.objects("meta")}
    assert roles == ({"engine", "worker"} if records else {"engine"})


def test_asynchronous_scheduling_has_its_drafts_from_the_worker(make: Make) -> None:
    recorder = make(asynchronous=True)
    asked = requests()
    recorder.server.add(*asked)
    for _ in range(3):
        recorder.server.step()
    recorder.server.step(aborted=asked[1].request_id)
    recorder.server.run()
    commits = recorder.records.commits
    assert commits == recorder.server.scheduler.truth
    assert {commit[3] for commit in commits} == {None}
    assert max(commit[2] for commit in commits) == DRAFTED
    assert [verdict[:4] for verdict in recorder.records.verdicts] == recorder.server.verified
    # What was verified of the aborted request in that step did not happen.
    assert len(recorder.records.verdicts) == sum(commit[2] > 0 for commit in commits) + 1
    ended = {row["id"]: row["status"] for row in recorder.records.objects("end")}
    assert ended[asked[1].request_id] == "FINISHED_ABORTED"


def test_what_the_scheduler_drops_after_a_preemption_is_no_commit(make: Make) -> None:
    recorder = make()
    (asked, *_) = requests()
    recorder.server.add(asked)
    recorder.server.step()
    asked.num_stale_output_tokens, asked.drop_stale_output, asked.num_preemptions = 4, True, 1
    recorder.server.step()
    recorder.server.run()
    assert recorder.records.commits == recorder.server.scheduler.truth
    assert len(recorder.records.verdicts) == sum(commit[2] > 0 for commit in recorder.records.commits) + 1
    assert [row["preempted"] for row in recorder.records.objects("end")] == [1]


def test_drafts_that_a_grammar_forbids_are_counted(make: Make) -> None:
    recorder = make()
    (asked, *_) = requests()
    recorder.server.add(asked)
    recorder.server.step()
    recorder.server.step(invalid={asked.request_id: 2})
    recorder.server.run()
    assert recorder.records.commits == recorder.server.scheduler.truth
    assert recorder.records.commits[1][3][1:] == [-1, -1]
    assert recorder.records.commits[1][5] == 2


def test_a_draft_that_is_no_token_is_no_error(make: Make) -> None:
    recorder = make()
    (asked, *_) = requests()
    recorder.server.add(asked)
    recorder.server.step()
    asked.drafts = [-1, 3, 4]
    recorder.server.step()
    assert recorder.records.verdicts[0][2] == [-1, 3, 4]
    assert recorder.counts(recorder.worker)["errors"] == 0


def test_drafts_that_another_made_have_no_figures_of_the_draft_model(make: Make) -> None:
    recorder = make()
    first, second, *_ = requests()
    recorder.server.add(first, second)
    recorder.server.step()
    first.drafts = [(first.drafts[0] + 1) % VOCABULARY, *first.drafts[1:]]
    recorder.server.step()
    verdicts_ = {verdict[0]: verdict for verdict in recorder.records.verdicts}
    assert verdicts_[first.request_id][8:] == [None, None]
    assert None not in verdicts_[second.request_id][8:]


def test_drafts_of_a_block_are_told_apart(make: Make) -> None:
    recorder = make(at_once=True)
    ran(recorder)
    verdicts_ = recorder.records.verdicts
    assert len(verdicts_) > 20
    for verdict in verdicts_:
        assert len(set(verdict[8])) == 1  # all drafted after the same token, by the same table
        expected = torch.softmax(recorder.server.draft.double(), -1).max(-1).values
        assert min(abs(expected - verdict[8][0])) < 2e-6


def test_each_switch_leaves_its_figures_out_and_nothing_else(make: Make, answers: list[list[int]]) -> None:
    whole = make()
    ran(whole)
    without = {
        "target": (4, 5, 6, 7),
        "entropy": (7, 9),
        "draft": (8, 9),
    }
    for name, places in without.items():
        recorder = make(settings={name: False})
        assert ran(recorder) == answers
        expected = [
            [None if place in places else value for place, value in enumerate(verdict)]
            for verdict in whole.records.verdicts
        ]
        assert recorder.records.verdicts == expected
        assert recorder.records.commits == whole.records.commits
        assert {meta["switches"][name] for meta in recorder.records.objects("meta")} == {False}


def test_without_ids_places_are_equal_where_tokens_are(make: Make, answers: list[list[int]]) -> None:
    whole, recorder = make(), make(settings={"ids": False})
    ran(whole)
    assert ran(recorder) == answers
    for verdict, bare in zip(whole.records.verdicts, recorder.records.verdicts, strict=True):
        assert bare[:2] + bare[4:5] + bare[6:] == verdict[:2] + verdict[4:5] + verdict[6:]
        assert max(*bare[2], *bare[3], *bare[5]) < 0
        for (one, other), (bare_one, bare_other) in (
            ((verdict[2], verdict[5]), (bare[2], bare[5])),
            ((verdict[2], verdict[3]), (bare[2], bare[3])),
            ((verdict[5], verdict[3]), (bare[5], bare[3])),
        ):
            assert [a == b for a, b in zip(one, other, strict=False)] == [
                a == b for a, b in zip(bare_one, bare_other, strict=False)
            ]
    for commit, bare in zip(whole.records.commits, recorder.records.commits, strict=True):
        assert bare == [*commit[:3], None, [-1] * len(commit[4]), *commit[5:]]
    text = "".join(file.read_text() for file in recorder.folder.iterdir())
    assert f"[{', '.join(map(str, answers[0][:3]))}".replace(" ", "") not in text


def test_a_sample_of_requests_is_the_same_in_all_processes(make: Make, answers: list[list[int]]) -> None:
    whole, recorder = make(), make(settings={"sample": 0.5})
    ran(whole)
    assert ran(recorder) == answers
    chosen = {row["id"] for row in recorder.records.objects("req")}
    assert 0 < len(chosen) < len(NAMES)
    assert recorder.records.commits == [commit for commit in whole.records.commits if commit[0] in chosen]
    assert recorder.records.verdicts == [
        verdict for verdict in whole.records.verdicts if verdict[0] in chosen
    ]
    assert {row["id"] for row in recorder.records.objects("end")} == chosen
    assert recorder.counts(recorder.engine)["unsampled"] == len(NAMES) - len(chosen)


def test_drafts_of_another_vocabulary_have_no_figures_of_the_draft_model(make: Make) -> None:
    recorder = make()
    logits, batch, draft_logits = of_v2()
    sampler = recorder.modules["vllm.v1.worker.gpu.spec_decode.rejection_sampler"].RejectionSampler()
    sampler(logits, batch, draft_logits[..., : VOCABULARY // 2].contiguous())
    assert [verdict[8:] for verdict in recorder.records.verdicts] == [[None, None]] * 2
    assert recorder.counts(recorder.worker)["errors"] == 0


@pytest.mark.parametrize("shared", [True, False])
def test_each_rank_records_its_own_requests_where_they_are_shared_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    recorder = make()
    monkeypatch.setattr(verdicts, "is_recording_rank", lambda: False)
    logits, batch, draft_logits = of_v2()
    if shared:
        sharder = recorder.modules["vllm.v1.worker.gpu.sample.batch_shard"].BatchSharder()
        batch = sharder.shard_sampler_inputs(batch, None)
    sampler = recorder.modules["vllm.v1.worker.gpu.spec_decode.rejection_sampler"].RejectionSampler()
    sampler(logits, batch, draft_logits)
    assert [verdict[0] for verdict in recorder.records.verdicts] == (["b", "c"] if shared else [])


CHANGED = {
    "Scheduler.update_from_output": ("commits", {"verify"}),
    "GPUModelRunner._sample": ("target", {"req", "step", "end"}),
    "SpecDecodeBaseProposer._sample_draft_tokens": ("draft", {"req", "step", "end", "verify"}),
    "BatchSharder.shard_sampler_inputs": ("target V2", {"req", "step", "end", "verify"}),
    "RejectionSampler.__call__": ("target V2", {"req", "step", "end", "verify"}),
}


@pytest.mark.parametrize("changed", CHANGED)
def test_a_part_whose_method_has_changed_is_left_out_alone(
    make: Make, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    part, kinds = CHANGED[changed]
    with caplog.at_level(logging.WARNING):
        recorder = make(changed=changed)
    (message,) = [record.getMessage() for record in caplog.records]
    owner, method = changed.split(".")
    assert message.startswith(f"spectui records no {part}: there is {owner}.{method}(self, renamed")
    states = {each.name: each.state for sink in (recorder.engine, recorder.worker) for each in sink.parts}
    assert [name for name, state in states.items() if state != "on"] == [part]
    ran(recorder)
    assert {kind for kind in ("req", "step", "end", "verify") if kind in recorder.records.rows} == kinds


HOOKS = (
    (scheduler.Commits, "_added"), (scheduler.Commits, "_freed"), (scheduler.Commits, "_before_update"),
    (scheduler.Commits, "_after_update"), (verdicts.VerdictsV1, "_before"), (verdicts.VerdictsV1, "_after"),
    (drafts.Drafts, "_before_batch"), (drafts.Drafts, "_after_batch"), (drafts.Drafts, "_before_choice"),
    (drafts.Drafts, "_after_choice"), (verdicts.Packed, "row"), (drafts.LastDrafts, "get"),
)  # fmt: skip


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("owner", "method"), HOOKS, ids=[f"{owner.__name__}.{name}" for owner, name in HOOKS]
)
def test_an_error_anywhere_in_it_is_counted_and_changes_no_answer(
    make: Make, answers: list[list[int]], monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    monkeypatch.setattr(owner, method, broken)
    recorder = make()
    assert ran(recorder) == answers
    counts = [recorder.counts(sink) for sink in (recorder.engine, recorder.worker)]
    assert {count["error"] for count in counts} >= {"RuntimeError: broken"}
    assert sum(count["errors"] for count in counts) > 1


def test_errors_in_a_row_turn_a_part_off(make: Make, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(scheduler.Commits, "_before_update", broken)
    recorder = make()
    for place in range(150):
        asked = Request(f"x{place}", [1, 2, 3, 4, 5], 1)
        asked.sampling_params = None
        recorder.server.add(asked)
    with caplog.at_level(logging.WARNING):
        recorder.engine.begin({})
        for _ in range(120):
            recorder.server.scheduler.update_from_output(
                type("Output", (), {"num_scheduled_tokens": {}, "scheduled_spec_decode_tokens": {}}), None
            )
    (part,) = recorder.engine.parts
    assert part.state == "off: 100 errors in a row, the last one RuntimeError: broken"
    assert part.errors == 100
    assert len(caplog.records) == 2  # the first error, and the end


def test_errors_now_and_then_leave_a_part_on() -> None:
    part = Part("part", logging.getLogger("vllm.spectui"))
    for call in range(300):
        part.call(broken if call % 2 else lambda: None)
    assert (part.state, part.errors) == ("on", 150)


def test_a_server_that_does_not_speculate_is_left_alone(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    recorder = make()
    recorder.server.scheduler.vllm_config.speculative_config = None
    for request in requests():
        request.drafts = []
        recorder.server.add(request)
    recorder.close()
    assert not recorder.folder.exists()
    assert "does not speculate" in caplog.text


def test_words_of_clients_cannot_steer_a_terminal_or_fill_a_disk(make: Make) -> None:
    recorder = make()
    long = "x" * 3000 + "-0123abcd"
    recorder.server.add(Request(long, [1, 2, 3, 4, 5], 2, task="a\x1b[2Jb\n"))
    recorder.server.run()
    (row,) = recorder.records.objects("req")
    assert row["task"] == "a?[2Jb?"
    assert len(row["id"]) == 200
    assert row["id"].endswith("-0123abcd")
    assert {commit[0] for commit in recorder.records.commits} == {row["id"]}


def of_v2() -> tuple[torch.Tensor, Any, torch.Tensor]:
    """Logits, batch and draft logits: a prefill of 5 tokens, 3 drafts, and 2; slots 7, 2 and 5 of the draft logits."""
    generator = torch.Generator().manual_seed(3)
    lengths, starts = (5, 4, 3), (0, 20, 33)
    ids = torch.randint(0, VOCABULARY, (12,), generator=generator)
    logits = torch.randn(8, VOCABULARY, generator=generator)
    logits[1, ids[6]] = logits[2, ids[7]] = 9.0  # two drafts of the second are accepted
    draft_logits = torch.randn(8, DRAFTED, VOCABULARY, generator=generator)
    batch = type("InputBatch", (), {
        "req_ids": ["a", "b", "c"],
        "cu_num_logits_np": torch.tensor([0, 1, 5, 8]).numpy(),
        "logits_indices": torch.tensor([4, 5, 6, 7, 8, 9, 10, 11]),
        "input_ids": ids,
        "positions": torch.cat([torch.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)]),
        "expanded_idx_mapping": torch.tensor([7, 2, 2, 2, 2, 5, 5, 5]),
        "expanded_local_pos": torch.tensor([0, 0, 1, 2, 3, 0, 1, 2]),
    })  # fmt: skip
    return logits, batch, draft_logits


def test_model_runner_v2_is_read_by_its_indices(make: Make) -> None:
    recorder = make()
    logits, batch, draft_logits = of_v2()
    ids = batch.input_ids
    sampler = recorder.modules["vllm.v1.worker.gpu.spec_decode.rejection_sampler"].RejectionSampler()
    output = sampler(logits, batch, draft_logits)
    assert output.num_sampled.tolist()[1] == 3
    second, third = recorder.records.verdicts
    assert second[:4] == ["b", 21, ids[6:9].tolist(), output.sampled_token_ids[1, :3].tolist()]
    assert third[:3] == ["c", 34, ids[10:12].tolist()]
    for verdict, slot, rows in ((second, 2, (1, 2, 3)), (third, 5, (5, 6))):
        for level, row in enumerate(rows):
            expected = figures_of(logits, row, verdict[2][level])
            assert (verdict[4][level], *(verdict[place][level] for place in (6, 7))) == pytest.approx(
                (expected[0], *expected[2:]), abs=2e-6
            )
            assert verdict[5][level] == expected[1]
            expected = figures_of(draft_logits[slot], level, verdict[2][level])
            assert (verdict[8][level], verdict[9][level]) == pytest.approx(
                (expected[0], expected[3]), abs=2e-6
            )
    assert [meta["v2"] for meta in recorder.records.objects("meta")] == [True]


def test_figures_of_a_grammars_mask_are_finite_and_others_are_null(make: Make) -> None:
    broken_row = -1
    for _ in range(2):
        recorder = make()
        recorder.server.target[:, ::2] = float("-inf")
        if broken_row >= 0:
            recorder.server.target[broken_row] = float("nan")
        recorder.server.add(*requests())
        for _ in range(6):
            recorder.server.step()
        after = [
            (token, entropy, p)
            for verdict in recorder.records.verdicts
            for token, entropy, p in zip(verdict[2], verdict[7][1:], verdict[4][1:], strict=False)
        ]
        assert {token for token, entropy, p in after if entropy is None or p is None} <= {broken_row}
        assert all(0 < entropy < 4 for _, entropy, _ in after if entropy is not None)
        assert any(p == 0 for _, _, p in after)
        broken_row = after[0][0]
    text = "".join(file.read_text() for file in recorder.folder.iterdir())
    assert "NaN" not in text
    assert "Infinity" not in text
    assert (broken_row, None, None) in after
