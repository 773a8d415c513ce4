"""A vLLM that answers as a real one did: 8 of our prompts, greedily, 64 tokens each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.servers.scripted import RECORDED, Reply, Route, as_json, as_stream

_COUNTERS = (
    "vllm:spec_decode_num_drafts_total",
    "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total",
    "vllm:generation_tokens_total",
)


PLAIN_PAGE: dict[str, Route] = {
    "/metrics": lambda _: Reply((RECORDED / "vllm-metrics-none.txt").read_bytes(), "text/plain")
}
"""The counters of a vLLM that does not speculate."""


class RecordedVllm:
    """Streams the recorded answers one after the other, a chunk a step, and counts them on its metrics page."""

    def __init__(self, method: str, *, detailed: bool = True, traffic: int = 0) -> None:
        self.answers = json.loads((RECORDED / f"vllm-responses-{method}.json").read_text())
        self._page = (RECORDED / f"vllm-metrics-{method}.txt").read_text()
        self._detailed = detailed
        self._traffic = traffic
        """Tokens that others generate beside each answer."""
        self._next = 0
        self._counts: dict[str, int] = {}
        self._positions: dict[int, int] = {}

    @property
    def routes(self) -> dict[str, Route]:
        return {
            "/v1/models": lambda _: as_json({"data": [{"id": "smol", "owned_by": "vllm"}]}),
            "/version": lambda _: as_json({"version": "0.32.0"}),
            "/metrics": lambda _: Reply(self._metrics().encode(), "text/plain"),
            "/v1/chat/completions": self._chat,
        }

    def _chat(self, request: dict[str, Any]) -> Reply:
        if not request["stream"]:  # asks what there is
            return as_json(self._told(self.answers[0]["resp"]))
        answer = self.answers[self._next % len(self.answers)]["resp"]
        self._next += 1
        self._count(answer)
        return as_stream(self._events(answer))

    def _told(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer if self._detailed else {**answer, "metrics": None}

    def _events(self, answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The text goes into the first chunk: it was not recorded how it was divided."""
        choice = answer["choices"][0]
        yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        token = 0
        for step, size in enumerate(sizes_of(answer)):
            ids = list(range(token, token + size))
            token += size
            text = choice["message"]["content"] if step == 0 else ""
            yield {"choices": [{"index": 0, "delta": {"content": text}, "token_ids": ids}]}
        yield {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": choice["finish_reason"]}]}
        yield {"choices": [], "usage": answer["usage"], "metrics": self._told(answer)["metrics"]}

    def _count(self, answer: dict[str, Any]) -> None:
        details = answer["metrics"]["speculative_decoding"]
        added = (
            details["num_spec_steps"],
            details["num_draft_tokens"],
            details["num_accepted_draft_tokens"],
            answer["usage"]["completion_tokens"] + self._traffic,
        )
        for name, value in zip(_COUNTERS, added, strict=True):
            self._counts[name] = self._counts.get(name, 0) + value
        for accepted in details["per_step_accepted"]:
            for place in range(accepted):
                self._positions[place] = self._positions.get(place, 0) + 1

    def _metrics(self) -> str:
        """The recorded page, counted on from its values."""
        lines = []
        for line in self._page.splitlines():
            name = line.partition("{")[0]
            head, _, value = line.rpartition(" ")
            if name in _COUNTERS:
                line = f"{head} {float(value) + self._counts.get(name, 0)}"
            elif name == "vllm:spec_decode_num_accepted_tokens_per_pos_total":
                place = int(line.partition('position="')[2].partition('"')[0])
                line = f"{head} {float(value) + self._positions.get(place, 0)}"
            lines.append(line)
        return "\n".join(lines) + "\n"


def sizes_of(answer: dict[str, Any]) -> list[int]:
    """Tokens of each chunk: the first one, those of the steps, and plain steps to the end."""
    left = answer["usage"]["completion_tokens"] - 1
    sizes = [1]
    for accepted in answer["metrics"]["speculative_decoding"]["per_step_accepted"]:
        sizes.append(min(accepted + 1, left))
        left -= sizes[-1]
        if not left:
            break
    return sizes + [1] * left
