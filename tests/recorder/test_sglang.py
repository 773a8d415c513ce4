"""Protects: the hooks for SGLang read whole trees as its source lays them out; a small call stands for a server's."""

from __future__ import annotations

import enum
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace as Any_
from typing import Any

import pytest
import torch

from spectui.recorder.settings import Settings
from spectui.recorder.sglang import install
from spectui.recorder.sglang.trees import parents
from spectui.recorder.sink import Sink
from spectui.store.reading.reader import Reader
from tests.recorder.records import Records
from tests.servers.recordings.recorder import import_all

VOCABULARY, WIDTH = 32, 6
# The root drafts 1 and 2, they 3 and 4, and 3 drafts 5.
FIRST_CHILD, NEXT_SIBLING, PARENTS = [1, 3, 4, 5, -1, -1], [-1, 2, -1, -1, -1, -1], [-1, 0, 0, 1, 2, 3]


class Request:
    def __init__(self, rid: str, prompt: int, most: int) -> None:
        self.rid, self.origin_input_ids, self.output_ids = rid, list(range(prompt)), list[int]()
        self.is_retracted, self.priority = False, None
        self.finished_reason: Any = None
        self.finished_len: int | None = None
        self.sampling_params = Any_(
            custom_params={"task": f"task-{rid}"}, max_new_tokens=most, temperature=0.0
        )

    def finished(self) -> bool:
        return self.finished_reason is not None


class FINISH_LENGTH:  # noqa: N801
    pass


class Processor:
    """Takes results in, as the class of this name in SGLang does."""

    def process_batch_result_prefill(self, batch: Any, result: Any) -> None:
        self.process_batch_result_decode(batch, result)

    def process_batch_result_decode(self, batch: Any, result: Any) -> None:
        for request, tokens in zip(batch.reqs, result.tokens, strict=True):
            request.output_ids += tokens
            if len(request.output_ids) >= request.sampling_params.max_new_tokens:
                request.finished_reason, request.finished_len = (
                    FINISH_LENGTH(),
                    request.sampling_params.max_new_tokens,
                )


def eagle_sample(
    verify_input: Any, batch: Any, logits_output: Any, grammar_mask: Any = None, **_: object
) -> Any:
    """The greedy verdict: down the tree while a child is the likeliest token."""
    predict = logits_output.next_token_logits.argmax(-1)
    index = torch.full((len(batch.reqs), 4), -1)
    lengths = []
    for place in range(len(batch.reqs)):
        node, path = 0, [0]
        while True:
            child = FIRST_CHILD[node]
            while (
                child >= 0
                and verify_input.draft_token[place * WIDTH + child] != predict[place * WIDTH + node]
            ):
                child = NEXT_SIBLING[child]
            if child < 0:
                break
            node = child
            path.append(node)
        index[place, : len(path)] = torch.tensor(path) + place * WIDTH
        lengths.append(len(path))
    logits_output.next_token_logits.fill_(0)
    return predict.int(), torch.tensor(lengths), index.int()


class HookType(enum.Enum):
    AROUND = "around"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The registered hooks, with the names of SGLang's modules in place."""
    registered: dict[str, Any] = {}
    registry = Any_(register=lambda target, hook, kind: registered.__setitem__(target, hook))
    server = Any_(
        model_path="m",
        speculative_algorithm="EAGLE3",
        speculative_draft_model_path="h",
        speculative_num_draft_tokens=6,
    )
    for name, module in {
        "sglang": Any_(__version__="0.5.23"),
        "sglang.srt": Any_(),
        "sglang.srt.plugins": Any_(),
        "sglang.srt.plugins.hook_registry": Any_(HookRegistry=registry, HookType=HookType),
        "sglang.srt.runtime_context": Any_(
            get_parallel=lambda: Any_(attn_tp_rank=0), get_server_args=lambda: server
        ),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(install, "_tried", [])
    monkeypatch.setenv("SPECTUI_SGLANG_DIR", str(tmp_path / "rows"))
    monkeypatch.setenv("SPECTUI_SGLANG_RUN", "abc")
    sinks: list[Sink] = []

    def sink(*args: Any) -> Sink:
        sinks.append(Sink(*args))
        return sinks[-1]

    monkeypatch.setattr(install, "Sink", sink)
    install.install()
    registered["sink"] = sinks[0]
    yield registered
    if sinks[0].begun:
        sinks[0].close()


def run(hooks: dict[str, Any], steps: int = 6, most: int = 9) -> tuple[list[Any], list[Any], list[Request]]:
    """Steps of two requests: the verdicts and the commits that were, and the requests."""
    generator = torch.Generator().manual_seed(1)
    requests = [Request("a", 5, most), Request("b", 8, 7)]
    processor, verdicts, commits = Processor(), [], []
    decode, prefill = (
        hooks[f"{install.PROCESSOR}.process_batch_result_{kind}"] for kind in ("decode", "prefill")
    )
    for step in range(steps):
        going = [request for request in requests if not request.finished()]
        if not going:
            break
        batch = Any_(
            reqs=going,
            spec_algorithm=Any_(is_none=lambda: False),
            forward_mode=Any_(is_idle=lambda: False),
        )
        lengths = {request.rid: len(request.output_ids) for request in going}
        if not step:
            tokens = [[7] for _ in going]
            prefill(
                Processor.process_batch_result_prefill,
                processor,
                batch,
                Any_(tokens=tokens, speculative_num_draft_tokens=None),
            )
        else:
            logits = 2 * torch.randn(len(going) * WIDTH, VOCABULARY, generator=generator)
            drafts = torch.randint(0, VOCABULARY, (len(going) * WIDTH,), generator=generator)
            best = logits.argmax(-1)
            if step % 2:
                drafts[2], drafts[4] = best[0], best[2]  # of the first request, the second branch is right
            known = Any_(
                draft_token=drafts,
                draft_token_num=WIDTH,
                positions=torch.tensor(
                    [
                        len(r.origin_input_ids) + len(r.output_ids) - 1 + depth
                        for r in going
                        for depth in (0, 1, 1, 2, 2, 3)
                    ]
                ),
                retrieve_index=torch.arange(len(going) * WIDTH).view(-1, WIDTH),
                retrieve_next_token=torch.tensor([FIRST_CHILD] * len(going)),
                retrieve_next_sibling=torch.tensor([NEXT_SIBLING] * len(going)),
            )
            p = logits.double().softmax(-1)
            predict, accepted, index = hooks[install.SAMPLE](
                eagle_sample, known, batch, Any_(next_token_logits=logits), None
            )
            tokens = [predict[index[i, :n].long()].tolist() for i, n in enumerate(accepted.tolist())]
            for i, request in enumerate(going):
                rows = p[i * WIDTH : (i + 1) * WIDTH]
                own = drafts[i * WIDTH : (i + 1) * WIDTH].tolist()
                verdicts.append([
                    request.rid, len(request.origin_input_ids) + len(request.output_ids), own[1:], tokens[i],
                    [float(rows[PARENTS[node], own[node]]) for node in range(1, WIDTH)],
                    [int(rows[PARENTS[node]].argmax()) for node in range(1, WIDTH)],
                    [float(rows[PARENTS[node]].max()) for node in range(1, WIDTH)],
                    [float(-(rows[PARENTS[node]] * rows[PARENTS[node]].log()).sum()) for node in range(1, WIDTH)],
                    None, None, [parent - 1 for parent in PARENTS[1:]],
                    [int(node) % WIDTH - 1 for node in index[i, 1 : accepted[i]]],
                ])  # fmt: skip
            decode(
                Processor.process_batch_result_decode,
                processor,
                batch,
                Any_(tokens=tokens, speculative_num_draft_tokens=WIDTH),
            )
        for request, new in zip(going, tokens, strict=True):
            kept = min(len(new), request.sampling_params.max_new_tokens - lengths[request.rid])
            prefix = len(request.origin_input_ids) + lengths[request.rid]
            commits.append([request.rid, prefix, WIDTH - 1 if step else 0, None, new, 0, kept])
    return verdicts, commits, requests


def test_parents_follow_from_first_children_and_siblings() -> None:
    assert parents(FIRST_CHILD, NEXT_SIBLING) == PARENTS
    assert parents([1, 2, -1, -1], [-1, -1, -1, -1]) == [-1, 0, 1, -1]  # a chain, and a node outside
    assert parents([0], [0]) == [0]  # nonsense ends


def test_trees_verdicts_and_commits_are_written(hooks: dict[str, Any], tmp_path: Path) -> None:
    verdicts, commits, requests = run(hooks, steps=30)
    hooks["sink"].close()
    records = Records(tmp_path / "rows")
    assert records.commits == commits
    assert len(records.verdicts) == len(verdicts)
    for row, expected in zip(records.verdicts, verdicts, strict=True):
        for value, one in zip(row, expected, strict=True):
            assert value == (pytest.approx(one, abs=2e-6) if isinstance(one, list) else one)
    assert max(len(row[11]) for row in records.verdicts) == 2  # a path down the second branch
    assert {row["id"]: (row["task"], row["prompt"]) for row in records.objects("req")} == {
        "a": ("task-a", 5),
        "b": ("task-b", 8),
    }
    ends = {row["id"]: (row["out"], row["status"]) for row in records.objects("end")}
    assert ends == {"a": (9, "FINISH_LENGTH"), "b": (7, "FINISH_LENGTH")}
    assert all(request.finished() for request in requests)
    (meta,) = records.objects("meta")
    assert (meta["server"], meta["sglang"], meta["method"], meta["run"]) == (
        "sglang",
        "0.5.23",
        "EAGLE3",
        "abc",
    )
    assert {stat["errors"] for stat in records.objects("stat")} == {0}


def test_an_import_tells_how_answers_ended(hooks: dict[str, Any], tmp_path: Path) -> None:
    run(hooks, steps=30, most=8)
    hooks["sink"].close()
    import_all(tmp_path / "rows", tmp_path / "runs.db")
    with Reader(tmp_path / "runs.db") as reader:
        prompts = reader.generations(reader.session("last").id)
        assert [(each.status, each.finish_reason) for each in prompts] == [("finished", "length")] * 2
        last = [reader.rounds(each.id)[-1] for each in prompts]
    assert "length" in {each.cut for each in last}
    assert {each.cut for each in last} <= {"length", None}


def test_a_function_with_other_parameters_is_left_alone(
    hooks: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def changed(batch: Any, other: Any) -> str:
        return "result"

    assert hooks[install.SAMPLE](changed, 1, 2) == "result"
    assert "spectui records no target: there is changed(batch, other)" in caplog.text
    _, commits, _ = run(hooks)
    hooks["sink"].close()
    assert Records(tmp_path / "rows").commits == commits
    assert Records(tmp_path / "rows").verdicts == []


def test_switches_hold_for_trees_too(hooks: dict[str, Any], tmp_path: Path) -> None:
    hooks["sink"].settings = replace(hooks["sink"].settings, ids=False, entropy=False)
    verdicts, _, _ = run(hooks)
    hooks["sink"].close()
    for row, expected in zip(Records(tmp_path / "rows").verdicts, verdicts, strict=True):
        assert set(row[2]) == {-1}
        assert [token == -1 for token in row[5]] == [
            best == draft for best, draft in zip(expected[5], expected[2], strict=True)
        ]
        assert (row[7], row[10:]) == (None, expected[10:])
        assert len(row[3]) == len(expected[3])


def test_it_is_inert_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from spectui.recorder.sglang import register

    monkeypatch.delenv("SPECTUI_SGLANG_DIR", raising=False)
    monkeypatch.setattr(install, "_tried", [])
    register()
    assert install._tried == []
    assert logging.getLogger("sglang.spectui").handlers == []
    assert Settings("x").sample == 1
