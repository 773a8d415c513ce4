"""A server whose true figures are known: an engine step by step, and the counters that each engine makes of it.

Times are simulated: minutes of traffic take milliseconds. The counting follows vLLM 0.32 (a step of a request is one
observation of the inter-token latency; accepted tokens beyond the end of an answer are counted, generated ones are
not), llama.cpp (counters move when a request ends) and SGLang (levels of the last 40 steps, a counter of
verifications that moves when a request ends, one observation a token).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

BUCKETS = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    40.0,
    80.0,
)


@dataclass(frozen=True)
class Setup:
    """A model on a machine, its draft and its traffic."""

    depth: int = 0
    """Positions of a draft; 0 decodes plainly."""
    survives: tuple[float, ...] = ()
    """Probability that a position is accepted where the one before it was."""
    drafts_share: float = 1.0
    """Probability that a round has a draft at all."""
    step_ms: float = 60.0
    """Of a step with one request, without a draft."""
    request_ms: float = 3.0
    """For each request more."""
    draft_ms: float = 15.0
    """Of drafting, for the whole batch."""
    node_ms: float = 1.0
    """Of verifying a draft token."""
    prefill_ms: float = 90.0
    concurrency: int = 1
    answer: tuple[int, int] = (40, 160)
    think_s: float = 0.0
    """Until a client asks again."""


@dataclass
class _Request:
    length: int
    client: int
    done: int = 0
    began: float = 0.0
    last: float = 0.0
    drafted: list[tuple[int, int]] = field(default_factory=list)
    """(drafted, accepted) of each round with a draft."""
    rounds: int = 0


class Simulated:
    """Runs for a time, then shows its counters; again and again."""

    def __init__(self, setup: Setup, *, seed: int = 0, started: float = 1_000_000.0) -> None:
        self.setup, self.started = setup, started
        self.now = started
        self._random = Random(seed)
        self._running: list[_Request] = []
        self._asks_at = [started] * setup.concurrency
        self._ids = 0
        # Truth: what clients measured.
        self.true_decode_s, self.true_tokens = 0.0, 0
        self.counts: Counter[str] = Counter()
        self.seconds = {"decode": 0.0, "ended_decode": 0.0}
        self.positions = [0] * setup.depth
        self.ended_positions = [0] * setup.depth
        self._latency = [0] * (len(BUCKETS) + 1)
        self._token_latency = [0] * (len(BUCKETS) + 1)
        self._recent: deque[tuple[int, int]] = deque(maxlen=40)

    @property
    def true_ms(self) -> float:
        """Time per token after the first, as its clients measured it."""
        return self.true_decode_s / self.true_tokens * 1000

    def run(self, seconds: float) -> None:
        """Serve for so long."""
        end = self.now + seconds
        while self.now < end:
            arrived = [client for client, at in enumerate(self._asks_at) if at <= self.now]
            if not self._running and not arrived:
                self.now = min(min(self._asks_at, default=end), end)
                continue
            self._step(arrived)

    def _step(self, arrived: list[int]) -> None:
        setup, decoding = self.setup, list(self._running)
        for client in arrived:
            self._asks_at[client] = float("inf")
        drafts = [setup.depth > 0 and self._random.random() < setup.drafts_share for _ in decoding]
        took = setup.step_ms + setup.request_ms * max(len(decoding) + len(arrived) - 1, 0)
        took += setup.draft_ms * any(drafts) + setup.node_ms * setup.depth * sum(drafts)
        took += setup.prefill_ms * len(arrived)
        self.now += took * self._random.uniform(0.9, 1.1) / 1000
        self.counts["steps"] += 1
        for client in arrived:
            request = _Request(self._random.randint(*setup.answer), client, 1, self.now, self.now)
            self._running.append(request)
            self.counts["generated"] += 1
            self.counts["first"] += 1
        for request, with_draft in zip(decoding, drafts, strict=True):
            self._round(request, with_draft)

    def _round(self, request: _Request, with_draft: bool) -> None:
        accepted = 0
        if with_draft:
            while accepted < self.setup.depth and self._random.random() < self.setup.survives[accepted]:
                self.positions[accepted] += 1
                accepted += 1
            self.counts["drafts"] += 1
            self.counts["drafted"] += self.setup.depth
            self.counts["accepted"] += accepted
            request.drafted.append((self.setup.depth, accepted))
        brought = min(accepted + 1, request.length - request.done)
        interval = self.now - request.last
        request.done += brought
        request.rounds += 1
        request.last = self.now
        self.counts["generated"] += brought
        self.counts["rounds"] += 1
        self.seconds["decode"] += interval
        self._latency[bisect_left(BUCKETS, interval)] += 1
        self._token_latency[bisect_left(BUCKETS, interval / brought)] += brought
        self._recent.append((accepted, self.setup.depth if with_draft else 0))
        if request.done >= request.length:
            self._end(request)

    def _end(self, request: _Request) -> None:
        self._running.remove(request)
        self._asks_at[request.client] = self.now + self.setup.think_s
        self.true_decode_s += request.last - request.began
        self.true_tokens += request.done - 1
        self.counts["ended"] += 1
        self.counts["ended_generated"] += request.done
        self.counts["ended_rounds"] += request.rounds
        self.seconds["ended_decode"] += request.last - request.began
        # llama.cpp clips the last draft to what is still to be generated.
        over = request.rounds + sum(accepted for _, accepted in request.drafted) - (request.done - 1)
        for drafted, accepted in request.drafted[:-1]:
            self._count_ended(drafted, accepted)
        if request.drafted:
            drafted, accepted = request.drafted[-1]
            self._count_ended(drafted, accepted - over)

    def _count_ended(self, drafted: int, accepted: int) -> None:
        self.counts["ended_drafts"] += 1
        self.counts["ended_drafted"] += drafted
        self.counts["ended_accepted"] += accepted
        for place in range(accepted):
            self.ended_positions[place] += 1

    # Pages.

    def vllm(self) -> str:
        """The page of vLLM."""
        counts = self.counts
        labels = 'engine="0",model_name="m"'
        lines = [
            f"vllm:generation_tokens_total{{{labels}}} {counts['generated']}",
            f"vllm:generation_tokens_created{{{labels}}} {self.started}",
            f"vllm:iteration_tokens_total_count{{{labels}}} {counts['steps']}",
            f"vllm:num_requests_running{{{labels}}} {len(self._running)}",
            f"vllm:num_requests_waiting{{{labels}}} 0",
            f"vllm:kv_cache_usage_perc{{{labels}}} {0.14 * len(self._running):.2f}",
            f'vllm:request_success_total{{{labels},finished_reason="length"}} {counts["ended"]}',
            f"vllm:time_to_first_token_seconds_count{{{labels}}} {counts['first']}",
            *_histogram("vllm:inter_token_latency_seconds", labels, self._latency, self.seconds["decode"]),
        ]
        if self.setup.depth:
            lines += [
                f"vllm:spec_decode_num_drafts_total{{{labels}}} {counts['drafts']}",
                f"vllm:spec_decode_num_draft_tokens_total{{{labels}}} {counts['drafted']}",
                f"vllm:spec_decode_num_accepted_tokens_total{{{labels}}} {counts['accepted']}",
            ]
            name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
            lines += [f'{name}{{{labels},position="{at}"}} {n}' for at, n in enumerate(self.positions)]
        return "\n".join(lines) + "\n"

    def llama(self) -> str:
        """The page of llama.cpp."""
        counts = self.counts
        busy = (counts["rounds"] + counts["first"]) / max(counts["steps"], 1)
        pairs = {
            "tokens_predicted_total": counts["ended_generated"],
            "tokens_predicted_seconds_total": self.seconds["ended_decode"],
            "n_decode_total": counts["steps"],
            "n_busy_slots_per_decode": busy,
            "requests_processing": len(self._running),
            "spec_decode_num_drafts_total": counts["ended_drafts"],
            "spec_decode_num_draft_tokens_total": counts["ended_drafted"],
            "spec_decode_num_accepted_tokens_total": counts["ended_accepted"],
        }
        lines = [f"llamacpp:{name} {value}" for name, value in pairs.items()]
        name = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
        if counts["ended_drafts"]:
            lines += [f'{name}{{position="{at}"}} {n}' for at, n in enumerate(self.ended_positions)]
        return "\n".join(lines) + "\n"

    def sglang(self) -> str:
        """The page of SGLang."""
        counts = self.counts
        labels = 'engine_type="unified",model_name="m"'
        lines = [
            f"sglang:generation_tokens_total{{{labels}}} {counts['ended_generated']}",
            f"sglang:num_requests_total{{{labels}}} {counts['ended']}",
            f'sglang:num_running_reqs{{{labels},tp_rank="0"}} {len(self._running)}',
            f'sglang:num_running_reqs{{{labels},tp_rank="1"}} {len(self._running)}',
            *_histogram(
                "sglang:inter_token_latency_seconds", labels, self._token_latency, self.seconds["decode"]
            ),
        ]
        if self.setup.depth:
            recent = [*self._recent] or [(0, self.setup.depth)]
            accepted = sum(one for one, _ in recent)
            lines += [
                f"sglang:spec_verify_calls_total{{{labels}}} {counts['ended_rounds']}",
                f'sglang:spec_accept_length{{{labels},tp_rank="0"}} {1 + accepted / len(recent)}',
                f'sglang:spec_accept_rate{{{labels},tp_rank="0"}} {accepted / max(sum(d for _, d in recent), 1)}',
                f'sglang:spec_num_steps{{{labels},tp_rank="0"}} {self.setup.depth}',
            ]
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: str, counts: Sequence[int], total: float) -> list[str]:
    cumulative = [*accumulate(counts)]
    bounds = [*(f"{bound}" for bound in BUCKETS), "+Inf"]
    lines = [
        f'{name}_bucket{{{labels},le="{le}"}} {count}' for le, count in zip(bounds, cumulative, strict=True)
    ]
    return [*lines, f"{name}_count{{{labels}}} {cumulative[-1]}", f"{name}_sum{{{labels}}} {total}"]
