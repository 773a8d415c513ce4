"""The figures of a server by name, with their units and counters: one table for JSON, export and help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spectui.servers.watch.server import View


@dataclass(frozen=True)
class Figure:
    """A figure of a view."""

    unit: str
    help: str
    value: Callable[[View], float | None]
    sources: Mapping[str, str]
    """Engine -> the counters that it comes from; an engine that is not in it does not tell."""


def _of(name: str) -> Callable[[View], float | None]:
    def value(view: View) -> float | None:
        return None if view.shown is None else getattr(view.shown, name)

    return value


def _level(name: str) -> Callable[[View], float | None]:
    return lambda view: None if view.sample is None or not view.answers else getattr(view.sample, name)


def _paid(name: str) -> Callable[[View], float | None]:
    return lambda view: getattr(view.payoff, name)


_V_TOKENS = "generation_tokens_total - time_to_first_token_seconds_count"
_V_ROUNDS = "inter_token_latency_seconds_count"
_L_ROUNDS = "tokens_predicted_total - spec_decode_num_accepted_tokens_total"
_S_TOKENS = "generation_tokens_total - num_requests_total"

FIGURES: dict[str, Figure] = {
    "speedup": Figure(
        "times",
        "time per token of plain decoding over that of speculation, under a like load",
        _paid("speedup"),
        {
            "vllm": "ms_per_token here and at the plain server",
            "llama.cpp": "ms_per_token here and at the plain server",
            "sglang": "ms_per_token here and at the plain server",
        },
    ),
    "plain_ms_per_token": Figure(
        "ms", "time per token of plain decoding", _paid("plain_ms"),
        dict.fromkeys(("vllm", "llama.cpp", "sglang"), "ms_per_token of the plain server"),
    ),
    "pays_below_ms": Figure(
        "ms", "a round pays while it takes less", _paid("pays_below_ms"),
        dict.fromkeys(("vllm", "llama.cpp", "sglang"), "tokens_per_round x plain_ms_per_token"),
    ),
    "ms_per_token": Figure(
        "ms", "time of a request per token after its first", _of("ms_per_token"),
        {
            "vllm": f"inter_token_latency_seconds_sum / ({_V_TOKENS})",
            "llama.cpp": "tokens_predicted_seconds_total / tokens_predicted_total",
            "sglang": "inter_token_latency_seconds_sum / _count",
        },
    ),
    "ms_per_round": Figure(
        "ms", "time of a round of a request", _of("ms_per_round"),
        {
            "vllm": f"inter_token_latency_seconds_sum / {_V_ROUNDS}, which counts steps",
            "llama.cpp": "ms_per_token x tokens_per_round",
            "sglang": "ms_per_token x tokens_per_round",
        },
    ),
    "tokens_per_round": Figure(
        "tokens", "tokens that a round brings, rounds without a draft among them", _of("tokens_per_round"),
        {
            "vllm": f"({_V_TOKENS}) / {_V_ROUNDS}",
            "llama.cpp": f"tokens_predicted_total / ({_L_ROUNDS})",
            "sglang": f"({_S_TOKENS}) / spec_verify_calls_total, else spec_accept_length",
        },
    ),
    "tokens_per_draft": Figure(
        "tokens", "tokens of a round with a draft, one of them the target's own", _of("tokens_per_draft"),
        {
            "vllm": "1 + spec_decode_num_accepted_tokens_total / spec_decode_num_drafts_total",
            "llama.cpp": "1 + spec_decode_num_accepted_tokens_total / spec_decode_num_drafts_total",
            "sglang": "spec_accept_length, of the last 40 decode steps",
        },
    ),
    "drafting": Figure(
        "share", "share of rounds that draft", _of("drafting"),
        {
            "vllm": f"spec_decode_num_drafts_total / {_V_ROUNDS}",
            "llama.cpp": f"spec_decode_num_drafts_total / ({_L_ROUNDS}), first tokens counted as rounds",
        },
    ),
    "accepted_share": Figure(
        "share", "share of draft tokens that were accepted", _of("accepted_share"),
        {
            "vllm": "spec_decode_num_accepted_tokens_total / spec_decode_num_draft_tokens_total",
            "llama.cpp": "spec_decode_num_accepted_tokens_total / spec_decode_num_draft_tokens_total",
            "sglang": "spec_accept_rate, of the last 40 decode steps; with trees of another base",
        },
    ),
    "rejected_per_second": Figure(
        "tokens/s", "draft tokens that were rejected", _of("thrown_per_second"),
        {
            "vllm": "spec_decode_num_draft_tokens_total - spec_decode_num_accepted_tokens_total",
            "llama.cpp": "spec_decode_num_draft_tokens_total - spec_decode_num_accepted_tokens_total",
        },
    ),
    "load": Figure(
        "requests", "mean number of requests in a step of the engine", _of("load"),
        {
            "vllm": f"({_V_ROUNDS} + time_to_first_token_seconds_count) / iteration_tokens_total_count",
            "llama.cpp": "n_busy_slots_per_decode",
            "sglang": "num_running_reqs, mean of the polls",
        },
    ),
    "tokens_per_second": Figure(
        "tokens/s", "generated by all requests together, now", lambda view: view.tokens_per_second,
        {
            "vllm": "generation_tokens_total",
            "llama.cpp": "/slots next_token.n_decoded",
            "sglang": "gen_throughput",
        },
    ),
    "running": Figure(
        "requests", "requests at work now", _level("running"),
        {"vllm": "num_requests_running", "llama.cpp": "requests_processing", "sglang": "num_running_reqs"},
    ),
    "waiting": Figure(
        "requests", "requests that wait now", _level("waiting"),
        {"vllm": "num_requests_waiting", "llama.cpp": "requests_deferred", "sglang": "num_queue_reqs"},
    ),
    "kv": Figure(
        "share", "share of the key-value cache in use", _level("kv"),
        {"vllm": "kv_cache_usage_perc", "sglang": "token_usage"},
    ),
}  # fmt: skip
"""Name -> figure, in the order in which they are shown."""


def as_json(view: View) -> dict[str, Any]:
    """A view for scripts: null for what is not known, never 0, and where each figure comes from."""
    engine = view.sample.engine if view.sample else ""
    figures = view.shown
    result = view.payoff
    return {
        "url": view.url,
        "state": view.state,
        "message": view.words or None,
        "engine": engine or None,
        "version": view.about.version or None,
        "model": view.model or None,
        "speculates": view.sample.speculative if view.sample else None,
        "k": view.depth,
        "at": view.at,
        "segment": view.segment,
        "basis": view.basis,
        "pays": {
            "verdict": result.verdict,
            "why": result.why or None,
            "speedup": result.speedup,
            "band": list(result.band) if result.band else None,
            "plain": result.plain_source or None,
            "rounds": result.rounds,
        },
        "figures": {
            name: {"value": one.value(view), "unit": one.unit, "source": one.sources.get(engine)}
            for name, one in FIGURES.items()
        },
        "positions": [
            {"position": place + 1, "reached": one.reached, "accepted": one.accepted, "of_all": one.of_all}
            for place, one in enumerate(figures.positions if figures else [])
        ],
        "accepted_lengths": figures.lengths if figures else [],
        "tasks": {
            counts.task: {"rounds": counts.rounds, "tokens_per_round": counts.tokens / counts.rounds}
            for counts in (figures.tasks if figures else ())
            if counts.rounds
        },
        "alerts": [{"at": event.at, "kind": event.kind, "text": event.text} for event in view.alerts],
    }
