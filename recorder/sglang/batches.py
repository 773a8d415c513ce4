"""Requests, commits and ends, from what the scheduler makes of a batch's result."""

from __future__ import annotations

import time
from typing import Any

from spectui.recorder.sink import Sink
from spectui.recorder.words import clean

MANY = 100_000


def records_here(sink: Sink) -> bool:
    """True in the process of a tensor parallel group that records; begins to write there."""
    if not sink.begun:
        import sglang
        from sglang.srt.runtime_context import get_parallel, get_server_args

        if get_parallel().attn_tp_rank != 0:
            return False
        known = get_server_args()
        about = {
            "sglang": sglang.__version__,
            "model": known.model_path,
            "method": known.speculative_algorithm,
            "draft": known.speculative_draft_model_path,
            "k": known.speculative_num_draft_tokens,
        }
        sink.begin(about)
    return True


class Batches:
    """Compares the tokens of every request before a result is processed and after."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.part = sink.part("commits")
        self._known: set[str] = set()

    def before(self, processor: Any, batch: Any, result: Any) -> list[tuple[Any, int]] | None:
        """Requests that go on, with the tokens of their answers."""
        if batch.spec_algorithm.is_none() or not records_here(self._sink):
            return None
        chooses = self._sink.settings.chooses
        going = []
        for request in batch.reqs:
            if request.finished() or request.is_retracted or not chooses(request.rid):
                continue
            if request.rid not in self._known:
                if len(self._known) >= MANY:  # of requests whose end was not seen
                    self._known.clear()
                self._known.add(request.rid)
                self._sink.put(self.part, self._request(request))
            going.append((request, len(request.output_ids)))
        return going or None

    def after(self, going: list[tuple[Any, int]], _: object, processor: Any, batch: Any, result: Any) -> None:
        """Write what was added, and whose end it was."""
        width = result.speculative_num_draft_tokens or 1
        settings, rows, ends = self._sink.settings, [], []
        for request, length in going:
            tokens = list(request.output_ids[length:])
            if tokens:
                drafted = width - 1 if length else 0  # the first token comes with the prompt's own pass
                end = request.finished_len if request.finished_len is not None else length + len(tokens)
                sampled = tokens if settings.ids else [-1] * len(tokens)
                prefix = len(request.origin_input_ids) + length
                rows.append(
                    [clean(request.rid), prefix, drafted, None, sampled, 0, min(end - length, len(tokens))]
                )
            if request.finished():
                self._known.discard(request.rid)
                ends.append(request)
        for request in ends:  # before their last steps, as of vLLM: an end says why its step was cut
            out = request.finished_len if request.finished_len is not None else len(request.output_ids)
            status = type(request.finished_reason).__name__
            row = {"id": clean(request.rid), "t": time.time(), "status": status, "out": out, "preempted": 0}
            self._sink.put(self.part, ["end", row])
        if rows:
            self._sink.put(self.part, ["step", time.time(), rows])

    def _request(self, request: Any) -> list[Any]:
        parameters = request.sampling_params
        custom = parameters.custom_params
        row = {
            "id": clean(request.rid),
            "t": time.time(),
            "prompt": len(request.origin_input_ids),
            "task": clean(custom.get("task")) if isinstance(custom, dict) else None,
            "session": None,
            "priority": request.priority or 0,
            "max": parameters.max_new_tokens,
            "temperature": parameters.temperature,
        }
        return ["req", row]
