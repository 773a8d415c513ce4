"""A small server with vLLM's classes, as far as the recorder sees them, which really speculates, on tables.

A token's successor has fixed logits, in the target and in the draft. Methods that the recorder wraps have the
parameters of a version of vLLM (signatures.json) and call what does their work here. What happened is also written
down by the server itself, for comparison.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from tests.recorder.signatures import FILE

VOCABULARY, DRAFTED, END = 64, 3, 0
SIGNATURES: dict[str, dict[str, dict[str, str]]] = json.loads(FILE.read_text(encoding="utf-8"))


class Status(enum.IntEnum):
    RUNNING = 1
    FINISHED_STOPPED = 2
    FINISHED_LENGTH_CAPPED = 3
    FINISHED_ABORTED = 4


class Request:
    def __init__(
        self, name: str, prompt: Sequence[int], max_tokens: int = 24, task: str | None = None
    ) -> None:
        self.request_id, self.tokens, self.num_prompt_tokens = name, list(prompt), len(prompt)
        self.max_tokens, self.priority, self.session_id = max_tokens, 0, None
        self.status, self.num_preemptions = Status.RUNNING, 0
        self.num_stale_output_tokens, self.drop_stale_output = 0, False
        extra = None if task is None else {"task": task}
        self.sampling_params: Any = SimpleNamespace(temperature=0.0, extra_args=extra)
        self.drafts: list[int] = []

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def answer(self) -> list[int]:
        return self.tokens[self.num_prompt_tokens :]

    def is_finished(self) -> bool:
        return self.status is not Status.RUNNING


class SchedulerWork:
    """The scheduler's work with the output of a step, as in vLLM."""

    def __init__(self, *, asynchronous: bool = False) -> None:
        self.requests: dict[str, Request] = {}
        speculation = SimpleNamespace(method="eagle3", model="head", num_speculative_tokens=DRAFTED)
        self.vllm_config: Any = SimpleNamespace(
            speculative_config=speculation,
            model_config=SimpleNamespace(model="tables", get_vocab_size=lambda: VOCABULARY),
            scheduler_config=SimpleNamespace(async_scheduling=asynchronous),
        )
        self.truth: list[list[Any]] = []

    def do_add_request(self, request: Request) -> None:
        self.requests[request.request_id] = request

    def do__free_request(self, request: Request, delay_free_blocks: bool = False) -> None:
        del self.requests[request.request_id]

    def do_update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> list[str]:
        for name in scheduler_output.num_scheduled_tokens:
            request = self.requests.get(name)
            if request is None or request.is_finished():
                continue
            if request.num_stale_output_tokens:
                request.num_stale_output_tokens = 0
                if request.drop_stale_output:
                    continue
            sampled = model_runner_output.sampled_token_ids[model_runner_output.req_id_to_index[name]]
            prefix, kept = request.num_tokens, 0
            for token in sampled:
                request.tokens.append(token)
                kept += 1
                if token == END:
                    request.status = Status.FINISHED_STOPPED
                elif request.num_output_tokens == request.max_tokens:
                    request.status = Status.FINISHED_LENGTH_CAPPED
                if request.is_finished():
                    break
            drafts = scheduler_output.scheduled_spec_decode_tokens.get(name)
            invalid = (scheduler_output.num_invalid_spec_tokens or {}).get(name, 0)
            known = drafts if drafts and max(drafts) >= 0 else None
            if sampled:
                self.truth.append([name, prefix, len(drafts or ()), known, list(sampled), invalid, kept])
            del sampled[kept:]  # vLLM cuts the runner's own list
            if request.is_finished():
                self._free_request(request)  # type: ignore[attr-defined]
        return sorted(self.requests)


class Model:
    """The draft model."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._logits[hidden]


class ProposerWork:
    def __init__(self, logits: torch.Tensor, *, at_once: bool) -> None:
        self.model = Model(logits)
        self._at_once = at_once

    def propose(self, tokens: torch.Tensor) -> torch.Tensor:
        if self._at_once:  # the same token for every level, as a block drafter's rows: request after request
            hidden = tokens.repeat_interleave(DRAFTED)
            return self._sample_draft_tokens(hidden, None)[0].view(-1, DRAFTED)  # type: ignore[attr-defined,no-any-return]
        levels = []
        for _ in range(DRAFTED):
            tokens, _probabilities = self._sample_draft_tokens(tokens, None)  # type: ignore[attr-defined]
            levels.append(tokens)
        return torch.stack(levels, 1)

    def do__sample_draft_tokens(self, hidden: torch.Tensor, metadata: object) -> tuple[torch.Tensor, None]:
        return self.model.compute_logits(hidden).argmax(-1), None


class RunnerWork:
    """The work of model runner V1: verify the drafts of a batch, then draft again."""

    def __init__(self, target: torch.Tensor, proposer: Any) -> None:
        self.target, self.drafter = target, proposer
        self.device = torch.device("cpu")
        self.input_batch = SimpleNamespace(req_ids=[])
        self.positions = torch.zeros(4096, dtype=torch.int64)

    def step(
        self, requests: Sequence[Request], drafts: Sequence[Sequence[int]]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Sampled tokens of each request, and its next drafts."""
        self.input_batch.req_ids = [request.request_id for request in requests]
        counts = [len(each) for each in drafts]
        tokens: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        at = 0
        for request, each in zip(requests, drafts, strict=True):
            # A prefill runs over more tokens than it samples from.
            before = 3 if not request.answer else 0
            tokens += [*request.tokens[-1 - before :], *each]
            positions += range(request.num_tokens - 1 - before, request.num_tokens + len(each))
            rows += range(at + before, at + before + 1 + len(each))
            at += before + 1 + len(each)
        self.positions[: len(positions)] = torch.tensor(positions)
        logits_indices = torch.tensor(rows)
        sampled_from = torch.tensor(tokens)[logits_indices]
        ends = torch.tensor([count + 1 for count in counts]).cumsum(0)
        of_targets = [
            row
            for end, count in zip(ends.tolist(), counts, strict=True)
            for row in range(end - count - 1, end - 1)
        ]
        target_rows = torch.tensor(of_targets, dtype=torch.int64)
        known = SimpleNamespace(
            num_draft_tokens=counts,
            max_spec_len=max(counts),
            logits_indices=logits_indices,
            target_logits_indices=target_rows,
            draft_token_ids=sampled_from[target_rows + 1] if of_targets else target_rows,
        )
        output = self._sample(self.target[sampled_from].clone(), known)  # type: ignore[attr-defined]
        sampled = [[token for token in row if token >= 0] for row in output.sampled_token_ids.tolist()]
        self._newest = torch.tensor([row[-1] for row in sampled])
        proposed = self.propose_draft_token_ids(*[None] * 9)  # type: ignore[attr-defined]
        return sampled, proposed.tolist()

    def do__sample(self, logits: torch.Tensor, known: Any) -> Any:
        rows, at = [], 0
        for request, count in enumerate(known.num_draft_tokens):
            best = logits[at + request : at + request + count + 1].argmax(-1).tolist()
            drafts = known.draft_token_ids[at : at + count].tolist()
            at += count
            accepted = next((level for level in range(count) if drafts[level] != best[level]), count)
            rows.append(best[: accepted + 1] + [-1] * (DRAFTED - accepted))
        logits.fill_(0)  # vLLM's samplers work in place
        return SimpleNamespace(sampled_token_ids=torch.tensor(rows))

    def do_propose_draft_token_ids(self, *_: object) -> torch.Tensor:
        drafts: torch.Tensor = self.drafter.propose(self._newest)
        return drafts


class SamplerWork:
    """The rejection sampler of model runner V2."""

    def do___call__(
        self, logits: torch.Tensor, batch: Any, draft_logits: Any = None, invalid: Any = None
    ) -> Any:
        rows, counts = [], []
        for place in range(len(batch.req_ids)):
            begin, end = int(batch.cu_num_logits_np[place]), int(batch.cu_num_logits_np[place + 1])
            best = logits[begin:end].argmax(-1).tolist()
            drafts = batch.input_ids[batch.logits_indices[begin + 1 : end]].tolist()
            accepted = next(
                (level for level, token in enumerate(drafts) if token != best[level]), len(drafts)
            )
            rows.append(best[: accepted + 1] + [777] * (DRAFTED - accepted))  # the rest is whatever lay there
            counts.append(accepted + 1)
        return SimpleNamespace(sampled_token_ids=torch.tensor(rows), num_sampled=torch.tensor(counts))


class SharderWork:
    """Shares out the requests of a batch among ranks; here this one gets all."""

    def do_shard_sampler_inputs(self, batch: Any, grammar: object) -> Any:
        return batch


WORK = {
    "BatchSharder": SharderWork,
    "Scheduler": SchedulerWork,
    "GPUModelRunner": RunnerWork,
    "SpecDecodeBaseProposer": ProposerWork,
    "RejectionSampler": SamplerWork,
}


def modules(version: str, changed: str = "") -> dict[str, Any]:
    """vLLM's modules of a version; the method that is `changed` calls its first parameter otherwise."""
    made = {}
    for module, methods in SIGNATURES[version].items():
        classes: dict[str, type] = {}
        for dotted, parameters in methods.items():
            owner, method = dotted.split(".")
            names = [name.partition("=")[0] for name in parameters.split(", ")][1:]
            given = names
            signature = parameters
            if dotted == changed:
                given = ["renamed", *names[1:]]
                signature = parameters.replace(f"self, {names[0]}", "self, renamed")
            scope: dict[str, Any] = {}
            exec(f"def {method}({signature}): return self.do_{method}({', '.join(given)})", scope)
            classes.setdefault(owner, type(owner, (WORK[owner],), {}))
            setattr(classes[owner], method, scope[method])
        made[module] = SimpleNamespace(**classes)
    return made


class Server:
    """A scheduler and a runner of these modules, and the requests that run on them."""

    def __init__(self, made: dict[str, Any], *, asynchronous: bool = False, at_once: bool = False) -> None:
        generator = torch.Generator().manual_seed(29)
        self.target = 3 * torch.randn(VOCABULARY, VOCABULARY, generator=generator)
        self.target[:, END] -= 3
        self.draft = self.target + 2 * torch.randn(VOCABULARY, VOCABULARY, generator=generator)
        self._asynchronous = asynchronous
        self.scheduler = made["vllm.v1.core.sched.scheduler"].Scheduler(asynchronous=asynchronous)
        proposer = made["vllm.v1.spec_decode.llm_base_proposer"].SpecDecodeBaseProposer(
            self.draft, at_once=at_once
        )
        self.runner = made["vllm.v1.worker.gpu_model_runner"].GPUModelRunner(self.target, proposer)
        self.verified: list[list[Any]] = []
        """Request, prefix, drafts and sampled tokens of every verdict."""

    def add(self, *requests: Request) -> None:
        for request in requests:
            self.scheduler.add_request(request)

    def step(self, *, aborted: str = "", invalid: dict[str, int] | None = None) -> None:
        """One step; a request may be aborted while the runner is at work, drafts at the end of a round be forbidden."""
        running = list(self.scheduler.requests.values())
        drafts = [request.drafts for request in running]
        prefixes = [request.num_tokens for request in running]
        sampled, proposed = self.runner.step(running, drafts)
        for request, prefix, each, tokens in zip(running, prefixes, drafts, sampled, strict=True):
            if each:
                self.verified.append([request.request_id, prefix, each, list(tokens)])
        if aborted:
            self.scheduler.requests[aborted].status = Status.FINISHED_ABORTED
            self.scheduler._free_request(self.scheduler.requests[aborted])
        scheduled = {
            request.request_id: [-1] * len(each) if self._asynchronous else list(each)
            for request, each in zip(running, drafts, strict=True)
            if each
        }
        for name, number in (invalid or {}).items():
            scheduled[name][-number:] = [-1] * number
        self.scheduler.update_from_output(
            SimpleNamespace(
                num_scheduled_tokens={request.request_id: 1 + len(request.drafts) for request in running},
                scheduled_spec_decode_tokens=scheduled,
                num_invalid_spec_tokens=invalid,
            ),
            SimpleNamespace(
                sampled_token_ids=sampled,
                req_id_to_index={request.request_id: place for place, request in enumerate(running)},
            ),
        )
        for request, each in zip(running, proposed, strict=True):
            request.drafts = each

    def run(self) -> None:
        """Steps until no request is left."""
        while self.scheduler.requests:
            self.step()
