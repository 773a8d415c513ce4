"""Rows and figures as the reader hands them out, frozen. Times are UTC ISO 8601, durations milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from spectui.store.counts import metrics
from spectui.store.counts.metrics import Metric
from spectui.store.counts.sums import TIMES, NodeSums
from spectui.store.records import NodeRecord
from spectui.store.sources import ENGINE, RECORDING, WAITS, Server, Source, source_of

NodeRow = NodeRecord
"""A node reads back as it was written."""

LIVE_STATUSES = ("starting", "running", "paused")
"""Statuses of a session that a worker is at work on."""

SESSION_STATUSES = (*LIVE_STATUSES, "finished", "stopped", "interrupted", "failed")
GENERATION_STATUSES = ("pending", "running", "finished", "skipped", "failed")
FINISH_REASONS = ("eos", "length", "context", "skipped", "stopped")
HALF_DONE_SQL = "(status = 'running' OR coalesce(finish_reason, '') = 'stopped')"
"""A row of `generation` that a worker, gone by now, left in the middle."""
TOTAL_MS = Metric(metrics.total_ms, *TIMES)
"""Decoding time of a row's rounds."""
MOST_APART = 2.0
"""Ends of the interval of a speed-up that are further apart than by this factor say nothing."""
COMMANDS = ("pause", "resume", "skip", "stop")


class Paced:
    """The speed of rounds over plain decoding, of rows that have tokens, times and a baseline."""

    tokens: int
    total_ms: Any
    baseline_ms: Any
    baseline_low_ms: Any
    baseline_high_ms: Any
    baseline_count: int

    @property
    def speedup(self) -> float | None:
        """Speed over the one-at-a-time baseline; None where there is no `speedup_range`."""
        return metrics.speedup(self.tokens, self.total_ms, self.plain_ms)

    @property
    def plain_ms(self) -> float | None:
        """`baseline_ms` where it is known well enough to compare the session with."""
        low, high = self.baseline_low_ms, self.baseline_high_ms
        known = low is not None and high is not None and high <= MOST_APART * low
        return self.baseline_ms if known else None

    @property
    def speedup_range(self) -> tuple[float, float] | None:
        """95 % interval of `speedup`; None where it is not known, or so wide that it says nothing."""
        if self.plain_ms is None:
            return None
        low = metrics.speedup(self.tokens, self.total_ms, self.baseline_low_ms)
        high = metrics.speedup(self.tokens, self.total_ms, self.baseline_high_ms)
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class SessionSummary(Paced):
    """A session: its columns, then figures from its rollups."""

    id: int
    name: str
    status: str
    """Effective: a live status whose worker is gone reads "interrupted"."""
    recorded_status: str
    """As the worker last wrote it."""
    stage: str
    """The worker's activity, such as "loading the target"; "" before the first."""
    stage_done: float | None
    stage_total: float | None
    stage_unit: str
    pid: int | None
    pid_created: float | None
    """`psutil.Process(pid).create_time()`: tells the worker from a later process of the same pid."""
    host: str
    heartbeat_at: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    config: dict[str, Any]
    target: str
    drafter: str
    tree: str
    device: str
    tokenizer_id: str
    versions: dict[str, Any]
    notes: str
    tags: tuple[str, ...]
    """Sorted, each once."""
    error: str | None
    prompt_count: int
    baseline_ms: float | None
    """Per token of one-at-a-time decoding, see `store.writing.baselines.refresh`; None before it is known."""
    cpu_percent: float | None
    rss_bytes: int | None
    gpu: dict[str, Any] | None
    log_path: str
    prompts_done: int
    """Generations that are finished, skipped or failed."""
    tokens: int
    rounds: int
    nodes: int
    draft_ms: float | None
    """None, as the two below, where it is not known of every round."""
    verify_ms: float | None
    other_ms: float | None
    tasks: dict[str, int]
    """Prompts of each task, in the order in which the tasks first appear."""
    match_rate: float | None
    accepted_at_risk: float | None
    mean_accepted_length: float | None
    tokens_per_round: float | None
    pruned: int = 0
    """Prompts whose nodes were given up."""
    costs: dict[str, Any] | None = None
    """Costs of a round's parts on its machine, JSON of `decoding.trees.costs.Costs`; None where not known."""
    energy_joules: float | None = None
    """Measured while the run decoded, for `energy_seconds`; None where nothing measures it."""
    energy_seconds: float | None = None
    prompts_failed: int = 0
    """Those of `prompts_done` that failed."""
    round_at: str | None = None
    """Time of the last recorded round, written within a second of it."""
    silent_seconds: int | None = None
    """For how long a worker that should be at work has shown no sign of life; None for one that does."""
    baseline_low_ms: float | None = None
    """With `baseline_high_ms` the 95 % interval of `baseline_ms`; None of fewer than three measurements."""
    baseline_high_ms: float | None = None
    baseline_count: int = 0
    """The number of measurements."""
    source: str = ENGINE
    """The source of its rounds, a name of `store.sources`."""
    server: Server | None = None
    """None of a session that spectui's own engine decoded."""
    shard: dict[str, Any] | None = None
    """JSON of `store.merging.shards.Shard`; None where the session has all prompts of its run."""
    sweep_id: int | None = None
    """With `cell` its place in a sweep (`store.sweeps`); None where it is of none."""
    cell: str | None = None
    devices: int = 1
    """Classes of devices that it was decoded on. Of several its times, baseline, costs and energy are None here, and
    `store.reading.devices` has those of each."""
    greedy_rounds: int = 0
    """Greedy rounds of which a server recorded the target's argmax."""
    explained_rounds: int = 0
    """Those of them whose verdict the argmax explains: all, or the server is wrong."""
    unexplained_round_id: int | None = None
    """The first that it does not; None where there is none."""

    total_ms = TOTAL_MS
    tokens_per_second = Metric(metrics.tokens_per_second, "tokens", "total_ms")

    @property
    def live(self) -> bool:
        """True while a worker is at work on it."""
        return self.status in LIVE_STATUSES

    @property
    def held_up_by(self) -> str:
        """A live run's reason not to go on, as ``waiting for the server`` or ``waiting: the disk is full``; else ""."""
        return self.stage if self.live and self.stage.startswith(WAITS) else ""

    @property
    def rounds_from(self) -> Source:
        """The knowledge of its rounds that their source gives."""
        return source_of(self.source)

    @property
    def of_clients(self) -> bool:
        """True where its prompts are requests of a server's clients, which come as they come."""
        return isinstance(self.config.get(RECORDING), dict)

    @property
    def study(self) -> bool:
        """True for a session set up as the published study: `spectui run --study`."""
        return self.config.get("study") is True


@dataclass(frozen=True)
class Worker:
    """The process that a session's row names."""

    pid: int
    host: str
    local: bool
    """True when the pid is one of this system's."""
    stopped: bool
    """True when a signal has stopped it, as far as this system can see."""
    known: bool
    """True when the process of that pid is surely the one meant: a row alone may name any, by age or ill will."""


@dataclass(frozen=True, slots=True)  # a session may have hundreds of thousands
class GenerationRow(NodeSums):
    """One prompt in a session, with the sums over its rounds."""

    id: int
    session_id: int
    position: int
    """From 0, the order in which prompts are run."""
    prompt_id: str
    task: str
    prompt_text: str
    status: str
    output: str
    """Text without the prompt and special tokens; "" until the generation ends."""
    error: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    token_count: int
    round_count: int
    node_count: int
    draft_ms: float | None
    verify_ms: float | None
    other_ms: float | None
    started_at: str | None
    ended_at: str | None
    first_token_id: int | None = None
    """The token that a server emitted with the prompt's own pass, before any round; None where the first round did."""
    replica_id: int | None = None
    """Row of `store.reading.replicas` that decoded it; None where the session's worker did."""
    pruned_at: str | None = None
    """Time of giving up its nodes off the committed paths (see `store.care.pruning`); None while all are there."""

    total_ms = TOTAL_MS
    match_rate = Metric(metrics.match_rate, "match_count", "node_count", "unjudged_count")
    mean_accepted_length = Metric(metrics.mean_accepted_length, "accepted_count", "round_count")
    tokens_per_round = Metric(metrics.tokens_per_round, "token_count", "round_count")


@dataclass(frozen=True)
class OutputSample:
    """The beginning of a prompt's text and of its output."""

    task: str
    prompt: str
    output: str


@dataclass(frozen=True)
class EventRow:
    """An event of a run, or of one of its prompts."""

    generation_id: int | None
    at: str
    kind: str
    """A short name such as "resumed" or "memory"; readers show unknown ones as they are."""
    text: str


@dataclass(frozen=True)
class RoundRow:
    """One verification step with its whole tree."""

    id: int
    generation_id: int
    number: int
    prefix_length: int | None
    accepted_length: int
    bonus_token_id: int | None
    cut: str | None
    node_count: int
    draft_ms: float | None
    verify_ms: float | None
    other_ms: float | None
    nodes: tuple[NodeRow, ...]
    choice_id: int | None = None
    """Row of `tree_choice`; None where the session has one tree."""
    first_token_id: int | None = None
    """Of a first round: the token that a server emitted before it, with the prompt's own pass; else None."""

    total_ms = TOTAL_MS

    @property
    def pruned(self) -> bool:
        """True when nodes off the committed path were given up."""
        return len(self.nodes) < self.node_count

    @property
    def accepted_path(self) -> tuple[NodeRow, ...]:
        """The accepted nodes in depth order."""
        return tuple(sorted((n for n in self.nodes if n.accepted), key=lambda n: n.depth))

    @property
    def emitted(self) -> tuple[int, ...]:
        """Token ids the round added to the output: the accepted path, then the bonus if there is one."""
        path = tuple(n.token_id for n in self.accepted_path)
        return path if self.bonus_token_id is None else (*path, self.bonus_token_id)


@dataclass(frozen=True)
class DepthFigures(NodeSums):
    """Figures of one depth of the trees of a task."""

    depth: int
    nodes: int
    rounds_at_risk: int
    rounds_reached: int

    match_rate = Metric(metrics.match_rate, "match_count", "nodes", "unjudged_count")
    hazard = Metric(metrics.hazard, "rounds_reached", "rounds_at_risk")


@dataclass(frozen=True)
class TaskFigures(NodeSums):
    """The live figures of one task, from the rollups alone."""

    task: str
    prompts: int
    """Generations started, whatever became of them."""
    rounds: int
    nodes: int
    tokens: int
    draft_ms: float | None
    verify_ms: float | None
    other_ms: float | None
    lengths: dict[int, int]
    """Accepted length -> rounds, ascending."""
    depths: dict[int, DepthFigures]
    """Depth -> figures, ascending from 1."""
    cuts: dict[int, int] = field(default_factory=dict)
    """Accepted length -> rounds whose path an end token or a limit cut there."""

    total_ms = TOTAL_MS
    tokens_per_second = Metric(metrics.tokens_per_second, "tokens", "total_ms")
    match_rate = Metric(metrics.match_rate, "match_count", "nodes", "unjudged_count")
    mean_accepted_length = Metric(metrics.mean_accepted_length, "accepted_count", "rounds")
    tokens_per_round = Metric(metrics.tokens_per_round, "tokens", "rounds")

    @property
    def survival(self) -> list[float]:
        """S_1, S_2, ...: shares of rounds that reached a depth, see `metrics.reached`; up to the first without data."""
        shares: list[float] = []
        for depth in sorted(self.depths):
            cut = sum(rounds for length, rounds in self.cuts.items() if length < depth)
            share = metrics.reached(self.depths[depth].rounds_reached, self.rounds, cut)
            if share is None:
                break
            shares.append(share)
        return shares

    @property
    def expected_length(self) -> float:
        """Expected accepted length from the survival curve."""
        return metrics.expected_length(self.survival)


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one kind."""

    kind: Literal["accepted", "rejected", "target"]
    token_ids: tuple[int, ...]


def spans(round_row: RoundRow) -> list[Span]:
    """The accepted tokens, the draft's rejected continuation, the target's own token; empty ones left out.

    Before those of a first round stands the token that came before it.

    The rejected span is what the drafter liked best after the accepted path: from its end follow the
    children of lowest rank. A path that was cut had no continuation the target refused, so none is shown.
    """
    path = round_row.accepted_path
    parts = [] if round_row.first_token_id is None else [Span("target", (round_row.first_token_id,))]
    parts.append(Span("accepted", tuple(n.token_id for n in path)))
    if round_row.cut is None:
        rejected = tuple(n.token_id for n in _favourites(round_row.nodes, path[-1].idx if path else None))
        parts.append(Span("rejected", rejected))
    if round_row.bonus_token_id is not None:
        parts.append(Span("target", (round_row.bonus_token_id,)))
    return [span for span in parts if span.token_ids]


def _favourites(nodes: tuple[NodeRow, ...], start: int | None) -> list[NodeRow]:
    best: dict[int | None, NodeRow] = {}
    for node in nodes:
        held = best.get(node.parent)
        if held is None or node.rank < held.rank:
            best[node.parent] = node
    chain: list[NodeRow] = []
    while start in best:
        chain.append(best[start])
        start = chain[-1].idx
    return chain
