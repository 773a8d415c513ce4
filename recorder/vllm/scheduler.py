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
    ) -> list[tuple[Request, list[Any]]] | None:
        """The commits as far as they are known, if there are any."""
        sampled = model_runner_output.sampled_token_ids
        if not sampled or not self._sink.begun:
            return None
        settings = self._sink.settings
        places = model_runner_output.req_id_to_index
        drafts = scheduler_output.scheduled_spec_decode_tokens
        invalid = scheduler_output.num_invalid_spec_tokens or {}
        seen = []
        for name in scheduler_output.num_scheduled_tokens:
            request, tokens = scheduler.requests.get(name), sampled[places[name]]
            if request is None or not len(tokens) or request.is_finished() or not settings.chooses(name):
                continue
            if request.num_stale_output_tokens and request.drop_stale_output:
                continue  # computed before a preemption; the scheduler drops it
            drafted = drafts.get(name) or ()
            # Under asynchronous scheduling all are placeholders, -1: the worker knows better.
            known = settings.ids and len(drafted) and max(drafted) >= 0
            kept = list(tokens) if settings.ids else [-1] * len(tokens)
            row = [clean(name), request.num_tokens, len(drafted), list(drafted) if known else None, kept]
            seen.append((request, [*row, invalid.get(name, 0)]))
        return seen or None

    def _after_update(
        self, seen: list[tuple[Request, list[Any]]], _: object, __: Scheduler, *args: object, **kwargs: object
    ) -> None:
        rows = []
        for request, row in seen:
            kept = min(request.num_tokens - row[1], len(row[4]))
            if kept > 0:  # none where the scheduler has dropped the step of a request
                rows.append([*row, kept])
        if rows:
            self._sink.put(self._part, ["step", time.time(), rows])
