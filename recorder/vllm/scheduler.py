"""Requests and what each step commits, from the process that schedules."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

from spectui.recorder.sink import Sink
from spectui.recorder.words import clean

# Classes of vLLM, none of which can be imported here.
Scheduler: TypeAlias = Any
Request: TypeAlias = Any
SchedulerOutput: TypeAlias = Any
RunnerOutput: TypeAlias = Any
Seen: TypeAlias = tuple[str, Request, int, list[int], list[int], int]
"""Name, request, tokens before, drafts, sampled tokens, and drafts that a grammar forbids."""


class Commits:
    """Sees every request come and go, and every step's tokens."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._part = sink.part("commits")

    def change(self, module: Any) -> None:
        """Wrap the scheduler's methods."""
        self._part.attempt(self._wrap, module.Scheduler)

    def _wrap(self, scheduler: type) -> None:
        self._part.wrap(
            scheduler,
            "update_from_output",
            ("self", "scheduler_output", "model_runner_output"),
            before=self._before_update,
            after=self._after_update,
            meter="commits",
        )
        self._part.wrap(scheduler, "add_request", ("self", "request"), after=self._added, meter="requests")
        self._part.wrap(scheduler, "_free_request", ("self", "request"), before=self._freed, meter="ends")

    def _added(self, _: object, __: object, scheduler: Scheduler, request: Request) -> None:
        if not self._sink.begun and not self._begin(scheduler):
            return
        parameters = request.sampling_params
        if parameters is None or scheduler.requests.get(request.request_id) is not request:
            return  # of a pooling model, or more input of a request that is there
        if not self._sink.settings.chooses(request.request_id):
            self._sink.unsampled += 1
            return
        row = {
            "id": clean(request.request_id),
            "t": time.time(),
            "prompt": request.num_prompt_tokens,
            "task": clean((parameters.extra_args or {}).get("task")),
            "session": clean(getattr(request, "session_id", None)),
            "priority": request.priority,
            "max": request.max_tokens,
            "temperature": parameters.temperature,
        }
        self._sink.put(self._part, ["req", row])

    def _begin(self, scheduler: Scheduler) -> bool:
        import vllm

        config = scheduler.vllm_config
        speculation = config.speculative_config
        if speculation is None:
            self._part.turn_off("this server does not speculate")
            return False
        about = {
            "vllm": vllm.__version__,
            "model": config.model_config.model,
            "method": speculation.method,
            "draft": getattr(speculation, "model", None),
            "k": speculation.num_speculative_tokens,
            "rejection": getattr(speculation, "rejection_sample_method", None),
            "draft_sample": getattr(speculation, "draft_sample_method", None),
            "async": bool(config.scheduler_config.async_scheduling),
            "v2": bool(getattr(config, "use_v2_model_runner", False)),
            "vocab": config.model_config.get_vocab_size(),
        }
        self._sink.begin(about)
        return True

    def _freed(self, _: Scheduler, request: Request, *args: object, **kwargs: object) -> bool:
        chosen = self._sink.begun and self._sink.settings.chooses(request.request_id)
        if chosen and request.sampling_params is not None:
            row = {
                "id": clean(request.request_id),
                "t": time.time(),
                "status": request.status.name,
                "out": request.num_output_tokens,
                "preempted": request.num_preemptions,
            }
            self._sink.put(self._part, ["end", row])
        return True

    def _before_update(
        self, scheduler: Scheduler, scheduler_output: SchedulerOutput, model_runner_output: RunnerOutput
    ) -> list[Seen] | None:
        """The commits as far as they are known, if there are any. Lists are copied: the scheduler cuts them."""
        sampled = model_runner_output.sampled_token_ids
        if not sampled or not self._sink.begun:
            return None
        settings = self._sink.settings
        everyone = settings.sample >= 1
        places, requests = model_runner_output.req_id_to_index, scheduler.requests
        drafts = scheduler_output.scheduled_spec_decode_tokens
        invalid = scheduler_output.num_invalid_spec_tokens or {}
        seen: list[Seen] = []
        for name in scheduler_output.num_scheduled_tokens:
            request, tokens = requests.get(name), sampled[places[name]]
            if request is None or not len(tokens) or request.is_finished():
                continue
            if not everyone and not settings.chooses(name):
                continue
            drafted = drafts.get(name)
            seen.append(
                (
                    name,
                    request,
                    request.num_tokens,
                    list(drafted) if drafted else [],
                    list(tokens),
                    invalid.get(name, 0),
                )
            )
        return seen or None

    def _after_update(self, seen: list[Seen], *_: object, **__: object) -> None:
        kept = [min(request.num_tokens - prefix, len(tokens)) for _, request, prefix, _, tokens, _ in seen]
        now, ids = time.time(), self._sink.settings.ids
        self._sink.put(self._part, lambda: _commits(now, seen, kept, ids=ids))


def _commits(now: float, seen: list[Seen], kept: list[int], *, ids: bool) -> list[Any] | None:
    """The row of a step, without what the scheduler has dropped: computed before a preemption, or of no use then."""
    rows = []
    for (name, _, prefix, drafts, tokens, invalid), number in zip(seen, kept, strict=True):
        if number > 0:
            # Under asynchronous scheduling all are placeholders, -1: the worker knows better.
            known = drafts if ids and drafts and max(drafts) >= 0 else None
            sampled = tokens if ids else [-1] * len(tokens)
            rows.append([clean(name), prefix, len(drafts), known, sampled, invalid, number])
    return ["step", now, rows] if rows else None
