"""The metrics pages of vLLM, llama.cpp and SGLang, read into one type: `spectui.store.samples.Sample`.

prometheus-client parses the text. Of a page's lines only those of known names go through it: a page of vLLM has
52 KB, of which nine tenths would be parsed for nothing, every second.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from spectui.servers.words import clean
from spectui.store.samples import Histogram, Sample, TaskCounts

TASK_LABEL = "task"
"""The custom label of SGLang that carries the task (`--tokenizer-metrics-allowed-custom-labels task`)."""
MOST_POSITIONS = 256
"""Positions of a draft that a page may name; llama.cpp's n-gram drafters name 64."""
MOST_BUCKETS = 128
MOST_LABELS = 64
"""Tasks, or reasons of an end, that a page may name."""
MOST_LABEL = 120
"""Characters of one of them."""
_START = "process_start_time_seconds"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class PageError(ValueError):
    """A page that is no metrics of a known server; says on one line what it is instead."""


class _Series(NamedTuple):
    labels: Mapping[str, str]
    value: float


Series = dict[str, list[_Series]]
"""Name -> its series."""


def read_page(text: str, at: float) -> Sample:
    """The sample that a page holds. Raises `PageError` for anything but metrics of a known server."""
    for prefix, engine in _ENGINES.items():
        if text.startswith(prefix) or f"\n{prefix}" in text:
            series = _parse(text, engine.names)
            if not any(name.startswith(prefix) for name in series):
                raise PageError(f"its {engine.title} metrics have no counter that spectui knows")
            return engine.read(series, at)
    raise PageError(_foreign(text))


def _parse(text: str, names: frozenset[str]) -> Series:
    lines = []
    for line in text.splitlines():
        match = _NAME.match(line)
        if match is not None and match.group() in names:
            lines.append(line)
    series: Series = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                if math.isfinite(sample.value) and sample.value >= 0:
                    series.setdefault(sample.name, []).append(_Series(sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise PageError("its metrics are garbled: they are no Prometheus text") from error
    return series


def _foreign(text: str) -> str:
    """A page of something else, in words."""
    start = text.lstrip()[:200].lower()
    if not start:
        return "/metrics is empty"
    if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return "/metrics is a web page (HTML), not metrics: is the address that of the server itself?"
    if start[0] in "{[":
        return "/metrics is JSON, not Prometheus text: not a server that spectui can watch"
    try:
        families = [
            family.name for family in text_string_to_metric_families(text[:20_000].rpartition("\n")[0] + "\n")
        ]
    except (ValueError, KeyError, IndexError, TypeError):
        families = []
    # Every exporter in Python or Go has these beside its own.
    heads = Counter(re.split(r"[_:]", name)[0] for name in families)
    for common in ("python", "process", "go", "promhttp", "http"):
        if len(heads) > 1:
            heads.pop(common, None)
    if not heads:
        return "/metrics is no Prometheus text"
    program = heads.most_common(1)[0][0]
    return f"metrics of another program ('{program}' ...): not a server that spectui knows"


# Sums over series. Of no series the sum is unknown.


def _total(
    series: Series, *names: str, where: Callable[[Mapping[str, str]], bool] | None = None
) -> float | None:
    """The sum of the first of `names` that the page has, over ranks and engines."""
    for name in names:
        values = [one.value for one in series.get(name, ()) if where is None or where(one.labels)]
        if values:
            return sum(values)
    return None


def _most(series: Series, *names: str) -> float | None:
    values = [one.value for name in names for one in series.get(name, ())]
    return max(values, default=None)


def _difference(first: float | None, second: float | None) -> float | None:
    """``first - second``; None where one is unknown, and never below 0: a page may be read between two counts."""
    return None if first is None or second is None else max(first - second, 0.0)


def _by(series: Series, name: str, label: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for one in series.get(name, ()):
        if (key := one.labels.get(label)) is not None:
            sums[key] = sums.get(key, 0.0) + one.value
    return sums


def _few(sums: Mapping[str, float]) -> dict[str, float]:
    """The first of them, their names fit to be shown."""
    few: dict[str, float] = {}
    for name, value in itertools.islice(sums.items(), MOST_LABELS):
        shown = clean(name, MOST_LABEL)
        few[shown] = few.get(shown, 0.0) + value
    return few


def _positions(series: Series, name: str) -> tuple[float, ...]:
    """Counts by position from 0; a hole ends them."""
    sums = {
        int(position): count
        for position, count in _by(series, name, "position").items()
        if position.isdecimal() and len(position) <= len(str(MOST_POSITIONS))
    }
    counts: list[float] = []
    while len(counts) in sums and len(counts) < MOST_POSITIONS:
        counts.append(sums[len(counts)])
    return tuple(counts)


def _histogram(series: Series, *names: str) -> Histogram | None:
    for name in names:
        buckets = {_bound(le): count for le, count in _by(series, f"{name}_bucket", "le").items()}
        buckets.pop(None, None)
        total = _total(series, f"{name}_sum")
        if buckets and total is not None:
            bounds = sorted(bound for bound in buckets if bound is not None)
            bounds[MOST_BUCKETS - 1 : -1] = []  # the last one has all observations
            return Histogram(tuple(bounds), tuple(buckets[bound] for bound in bounds), total)
    return None


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _label(series: Series, label: str) -> str:
    for several in series.values():
        for one in several:
            if one.labels.get(label):
                return clean(one.labels[label], MOST_LABEL)
    return ""


def _parts(name: str) -> tuple[str, str, str]:
    return f"{name}_bucket", f"{name}_sum", f"{name}_count"


# vLLM.

_V_DRAFTS = "vllm:spec_decode_num_drafts_total"
_V_DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
_V_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
_V_POSITIONS = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
_V_GENERATED, _V_CREATED = "vllm:generation_tokens_total", "vllm:generation_tokens_created"
_V_ROUND = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
"""Its name, and the one before 2026; one observation for each step of a request."""
_V_FIRST = "vllm:time_to_first_token_seconds"
_V_TOKEN = "vllm:request_time_per_output_token_seconds"
_V_STEPS = "vllm:iteration_tokens_total_count"


def _vllm(series: Series, at: float) -> Sample:
    generated = _total(series, _V_GENERATED)
    first = _total(series, f"{_V_FIRST}_count")
    rounds = _total(series, *(f"{name}_count" for name in _V_ROUND))
    tokens = _difference(generated, first)
    positions = _positions(series, _V_POSITIONS)
    drafts = _total(series, _V_DRAFTS)
    return Sample(
        at=at,
        engine="vllm",
        model=_label(series, "model_name"),
        mark=_most(series, _V_CREATED if _V_CREATED in series else _START),
        drafts=drafts,
        drafted=_total(series, _V_DRAFTED),
        accepted=_total(series, _V_ACCEPTED),
        by_position=positions,
        generated=generated,
        first_tokens=first,
        rounds=rounds,
        tokens=tokens,
        decode_s=_total(series, *(f"{name}_sum" for name in _V_ROUND)),
        decode_tokens=tokens,
        iterations=_total(series, _V_STEPS),
        batched=None if rounds is None or first is None else rounds + first,
        prompt_tokens=_total(series, "vllm:prompt_tokens_total"),
        prefix_queries=_total(series, "vllm:prefix_cache_queries_total"),
        prefix_hits=_total(series, "vllm:prefix_cache_hits_total"),
        preempted=_total(series, "vllm:num_preemptions_total"),
        finished=tuple(_few(_by(series, "vllm:request_success_total", "finished_reason")).items()),
        running=_total(series, "vllm:num_requests_running"),
        waiting=_total(series, "vllm:num_requests_waiting"),
        kv=_most(series, "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        depth=len(positions) or None,
        # Without --speculative-config the page has none of these counters.
        speculative=drafts is not None,
        first_token=_histogram(series, _V_FIRST),
        round_time=_histogram(series, *_V_ROUND),
        token_time=_histogram(series, _V_TOKEN),
    )


_V_NAMES = frozenset((
    _V_DRAFTS, _V_DRAFTED, _V_ACCEPTED, _V_POSITIONS, _V_GENERATED, _V_CREATED, _START, _V_STEPS,
    *(part for name in (*_V_ROUND, _V_FIRST, _V_TOKEN) for part in _parts(name)),
    "vllm:prompt_tokens_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total", "vllm:request_success_total", "vllm:num_requests_running",
    "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc",
))  # fmt: skip


# llama.cpp, whose counters move when a request ends.

_L_GENERATED, _L_SECONDS = "llamacpp:tokens_predicted_total", "llamacpp:tokens_predicted_seconds_total"
_L_DRAFTS = "llamacpp:spec_decode_num_drafts_total"
_L_DRAFTED = "llamacpp:spec_decode_num_draft_tokens_total"
_L_ACCEPTED = "llamacpp:spec_decode_num_accepted_tokens_total"
_L_POSITIONS = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
_L_STEPS, _L_BUSY = "llamacpp:n_decode_total", "llamacpp:n_busy_slots_per_decode"


def _llama(series: Series, at: float) -> Sample:
    generated, accepted = _total(series, _L_GENERATED), _total(series, _L_ACCEPTED)
    steps, busy = _total(series, _L_STEPS), _total(series, _L_BUSY)
    positions = _positions(series, _L_POSITIONS)
    while positions and not positions[-1]:  # as many as a draft may have, of which an n-gram drafter uses few
        positions = positions[:-1]
    drafts = _total(series, _L_DRAFTS)
    return Sample(
        at=at,
        engine="llama.cpp",
        drafts=drafts,
        drafted=_total(series, _L_DRAFTED),
        accepted=accepted,
        by_position=positions,
        generated=generated,
        # Every round commits one token of the target's own; a request's first token counts as one.
        rounds=generated if accepted is None else _difference(generated, accepted),
        tokens=generated,
        decode_s=_total(series, _L_SECONDS),
        decode_tokens=generated,
        iterations=steps,
        batched=None if steps is None or busy is None else steps * busy,
        prompt_tokens=_total(series, "llamacpp:prompt_tokens_total"),
        running=_total(series, "llamacpp:requests_processing"),
        waiting=_total(series, "llamacpp:requests_deferred"),
        depth=len(positions) or None,
        # The counters are there with or without speculation.
        speculative=True if drafts else None,
    )


_L_NAMES = frozenset((
    _L_GENERATED, _L_SECONDS, _L_DRAFTS, _L_DRAFTED, _L_ACCEPTED, _L_POSITIONS, _L_STEPS, _L_BUSY,
    "llamacpp:prompt_tokens_total", "llamacpp:requests_processing", "llamacpp:requests_deferred",
))  # fmt: skip


# SGLang: levels of the last decode steps, and one counter of verifications, which moves at a request's end.

_S_GENERATED, _S_REQUESTS = "sglang:generation_tokens_total", "sglang:num_requests_total"
_S_VERIFY = "sglang:spec_verify_calls_total"
_S_TOKEN = "sglang:inter_token_latency_seconds"
"""One observation for each token: the time of a step by the tokens it brought."""
_S_FIRST = "sglang:time_to_first_token_seconds"
_S_LEVELS = ("sglang:spec_accept_length", "sglang:spec_accept_rate", "sglang:spec_num_steps")


def _one_rank(labels: Mapping[str, str]) -> bool:
    """Ranks of tensor and pipeline parallelism tell the same; those of data parallelism add up."""
    return all(labels.get(rank, "0") == "0" for rank in ("tp_rank", "pp_rank", "moe_ep_rank"))


def _sglang(series: Series, at: float) -> Sample:
    generated, requests = _total(series, _S_GENERATED), _total(series, _S_REQUESTS)
    verifications = _total(series, _S_VERIFY)
    tokens = _difference(generated, requests)
    length, rate, steps = (_most(series, name) for name in _S_LEVELS)
    speculates = bool(verifications or length or steps)
    return Sample(
        at=at,
        engine="sglang",
        model=_label(series, "model_name"),
        mark=_most(series, _START),
        generated=generated,
        first_tokens=requests,
        rounds=(verifications or None) if speculates else tokens,
        tokens=tokens,
        drafts=(verifications or None) if speculates else None,
        decode_s=_total(series, f"{_S_TOKEN}_sum"),
        decode_tokens=_total(series, f"{_S_TOKEN}_count"),
        prompt_tokens=_total(series, "sglang:prompt_tokens_total"),
        running=_total(series, "sglang:num_running_reqs", where=_one_rank),
        waiting=_total(series, "sglang:num_queue_reqs", where=_one_rank),
        kv=_most(series, "sglang:token_usage"),
        depth=int(steps) if steps else None,
        accept_length=length or None,
        accept_rate=rate if length else None,
        live_rate=_total(series, "sglang:gen_throughput", where=_one_rank),
        speculative=speculates,
        first_token=_histogram(series, _S_FIRST),
        round_time=_histogram(series, _S_TOKEN),
        tasks=_tasks(series),
    )


def _tasks(series: Series) -> tuple[TaskCounts, ...]:
    tokens, requests, rounds = (
        _by(series, name, TASK_LABEL) for name in (_S_GENERATED, _S_REQUESTS, _S_VERIFY)
    )
    counted = {task: tokens[task] for task in tokens if task and task in rounds}
    committed = {task: max(count - requests.get(task, 0.0), 0.0) for task, count in counted.items()}
    verified = _few({task: rounds[task] for task in counted})
    return tuple(TaskCounts(task, count, verified[task]) for task, count in _few(committed).items())


_S_NAMES = frozenset((
    _S_GENERATED, _S_REQUESTS, _S_VERIFY, *_S_LEVELS, *_parts(_S_TOKEN), *_parts(_S_FIRST), _START,
    "sglang:prompt_tokens_total", "sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage",
    "sglang:gen_throughput",
))  # fmt: skip


class _Engine(NamedTuple):
    title: str
    names: frozenset[str]
    read: Callable[[Series, float], Sample]


_ENGINES = {
    "vllm:": _Engine("vLLM", _V_NAMES, _vllm),
    "llamacpp:": _Engine("llama.cpp", _L_NAMES, _llama),
    "sglang:": _Engine("SGLang", _S_NAMES, _sglang),
}
"""Prefix of its metrics -> the engine."""
TITLES = {"vllm": "vLLM", "llama.cpp": "llama.cpp", "sglang": "SGLang"}
"""Engine of a sample -> its name for people."""
