"""Rows of several processes joined into rounds: what the engine committed, with the figures that a worker gives it.

The two come in any order. A commit waits for its verdict while one may come; a verdict without a commit did not happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from spectui.servers.recordings.names import cut_of
from spectui.servers.recordings.rows import End, Request, Row, Step, Verified
from spectui.servers.rounds import ServerRound
from spectui.store.records import UNKNOWN_TOKEN, Cut, NodeRecord

PATIENCE_S = 2.0
"""For how long a commit waits for its verdict once all files are read to their ends: they are written every 50 ms."""
MOST_OVER = 100_000
"""Ends that are remembered, so that rows which come behind them are left out."""
MOST_EARLY = 50_000
"""Verdicts that wait for their commits; those of aborted requests wait for ever."""


@dataclass(frozen=True)
class Begun:
    """A request begins."""

    request: Request


@dataclass(frozen=True)
class First:
    """The token that comes with the prompt's own pass, before all rounds."""

    id: str
    token: int
    reached: int


@dataclass(frozen=True)
class Happened:
    """A round."""

    id: str
    round: ServerRound
    reached: int
    """Tokens after it, those of the prompt included."""
    gap: int
    """Tokens before it whose rows are lost."""


@dataclass(frozen=True)
class Over:
    """The end of a request."""

    id: str
    end: End
    tokens: tuple[int, ...]
    """Of the output, as far as they are known."""
    whole: bool
    """False where rows are lost."""
    most_tokens: int | None


Joined: TypeAlias = Begun | First | Happened | Over


@dataclass
class _Open:
    request: Request
    reached: int | None
    steps: deque[Step] = field(default_factory=deque)
    end: End | None = None
    before: float | None = None
    """The time of the step before."""
    tokens: list[int] = field(default_factory=list)
    whole: bool = True


@dataclass
class Counts:
    """Counts of what did not join."""

    lost: int = 0
    """Rounds whose verdict did not come."""
    differing: int = 0
    """Rounds whose verdict is of another draft."""


class Joiner:
    """Joins the rows of one server's start. `figures` is False where workers give none, so that none is waited for."""

    def __init__(self) -> None:
        self.figures = True
        self.counts = Counts()
        self._open: dict[str, _Open] = {}
        self._over: dict[str, None] = {}
        self._early: dict[str, dict[int, Verified]] = {}
        self._early_count = 0
        self._waiting: dict[str, float] = {}
        """Requests that wait for a row, and since when."""

    @property
    def hungry(self) -> int:
        """Positive where commits wait for more verdicts than verdicts for commits."""
        return sum(len(self._open[name].steps) for name in self._waiting) - self._early_count

    @property
    def unfinished(self) -> set[str]:
        """Requests of which something is held or still to come."""
        return self._open.keys() | self._early.keys()

    def feed(self, row: Row, now: float) -> Iterator[Joined]:
        """Take up a row; yields all that it completes."""
        if isinstance(row, Request | Step | Verified | End) and row.id in self._over:
            return
        if isinstance(row, Request | Step) and row.id not in self._open:
            request = row if isinstance(row, Request) else Request(row.id, row.at, None, "", None, None)
            self._open[row.id] = _Open(request, request.prompt_tokens)
            yield Begun(request)
        if isinstance(row, Step) and row.id in self._open:
            self._open[row.id].steps.append(row)
            yield from self._drain(self._open[row.id], now)
        elif isinstance(row, Verified):
            self._keep_early(row)
            if row.id in self._waiting:
                yield from self._drain(self._open[row.id], now)
        elif isinstance(row, End) and row.id in self._open:
            self._open[row.id].end = row
            yield from self._drain(self._open[row.id], now)

    def resume(self, name: str, reached: int, tokens: tuple[int, ...]) -> None:
        """Go on with a request that is recorded up to a place already, with these tokens of its output."""
        of_request = self._open[name]
        of_request.reached = max(reached, of_request.reached or 0)
        of_request.tokens = list(tokens)

    def forget(self, name: str) -> None:
        """Leave a request out from now on: it is recorded already."""
        self._over[name] = None
        if len(self._over) > MOST_OVER:
            del self._over[next(iter(self._over))]
        self._open.pop(name, None)
        self._waiting.pop(name, None)
        self._early_count -= len(self._early.pop(name, ()))

    def drop_early(self, names: set[str]) -> None:
        """Give up verdicts of requests that were never committed to, as they were aborted."""
        for name in names - self._open.keys():
            self._early_count -= len(self._early.pop(name, ()))

    def settle(self, now: float) -> Iterator[Joined]:
        """Yield all that need not wait any longer, as all files are read to their ends."""
        for name, since in list(self._waiting.items()):
            if now - since >= PATIENCE_S:
                yield from self._drain(self._open[name], now, wait=False)

    def _keep_early(self, row: Verified) -> None:
        of_request = self._early.setdefault(row.id, {})
        self._early_count += row.prefix_length not in of_request
        of_request[row.prefix_length] = row
        while self._early_count > MOST_EARLY:
            oldest = next(iter(self._early))
            self._early_count -= len(self._early.pop(oldest))

    def _drain(self, of_request: _Open, now: float, *, wait: bool = True) -> Iterator[Joined]:
        name = of_request.request.id
        while of_request.steps:
            step = of_request.steps[0]
            early = self._early.get(name, {})
            verdict = early.get(step.prefix_length) if step.drafted else None
            later = any(place > step.prefix_length for place in early)
            if step.drafted and verdict is None and self.figures and wait and not later:
                self._waiting.setdefault(name, now)
                return
            self._waiting.pop(name, None)
            of_request.steps.popleft()
            for place in [place for place in early if place <= step.prefix_length]:
                del early[place]
                self._early_count -= 1
            if not early:
                self._early.pop(name, None)
            yield from self._commit(of_request, step, verdict)
        if of_request.end is None:
            return
        prompt = of_request.request.prompt_tokens
        complete = prompt is not None and of_request.reached == prompt + of_request.end.tokens
        if complete or not wait:
            self.forget(name)
            yield Over(
                name,
                of_request.end,
                tuple(of_request.tokens),
                of_request.whole and complete,
                of_request.request.most_tokens,
            )
        else:
            self._waiting.setdefault(name, now)

    def _commit(self, of_request: _Open, step: Step, verdict: Verified | None) -> Iterator[Joined]:
        reached = of_request.reached
        if not step.kept or (reached is not None and step.prefix_length < reached):
            of_request.before = step.at
            return
        name, request = of_request.request.id, of_request.request
        gap = 0 if reached is None else step.prefix_length - reached
        of_request.whole = of_request.whole and not gap
        after = of_request.reached = step.prefix_length + step.kept
        before, of_request.before = of_request.before, step.at
        of_request.tokens += step.sampled[: step.kept]
        if step.prefix_length == request.prompt_tokens and not step.drafted:
            yield First(name, max(step.sampled[0], UNKNOWN_TOKEN), after)
            return
        if step.drafted and verdict is None and self.figures:
            self.counts.lost += 1
        if verdict is not None and not _belongs(step, verdict):
            self.counts.differing += 1
            verdict = None
        reason = cut_of(of_request.end)
        ms = None if before is None or step.at < before else 1e3 * (step.at - before)
        greedy = request.temperature == 0
        each = to_round(step, verdict, reason, ms, placed=not gap)
        if greedy and verdict is not None:
            each = replace(each, explained=explained(step, verdict))
        yield Happened(name, each, after, gap)


def to_round(
    step: Step, verdict: Verified | None, reason: Cut, ms: float | None, *, placed: bool = True
) -> ServerRound:
    """A commit as a round, with the figures of its verdict; `placed` is False where its place is left open."""
    accepted = min(len(step.sampled) - 1, step.kept)
    nodes = _tree(step, verdict, accepted) if verdict and verdict.parents else _chain(step, verdict, accepted)
    return ServerRound(
        drafted=len(nodes),
        accepted=accepted,
        emitted=step.kept,
        ms=ms,
        tokens=tuple(max(token, UNKNOWN_TOKEN) for token in step.sampled[: step.kept]),
        prefix_length=step.prefix_length if placed else None,
        cut=reason if step.kept < len(step.sampled) else None,
        nodes=tuple(nodes),
    )


def explained(step: Step, verdict: Verified) -> bool | None:
    """True where the path goes on just as long as the target's argmax is among the drafts.

    The target's own token is then its argmax, too, where a draft stood in its place. None where that cannot be told.
    """
    if verdict.argmax is None or (verdict.parents and min(verdict.drafts, default=0) < 0):
        return None
    parents = verdict.parents or range(-1, len(verdict.drafts) - 1)
    children: dict[int, list[int]] = {}
    for place, parent in zip(range(len(verdict.drafts)), parents, strict=True):
        if verdict.parents or place < step.drafted:
            children.setdefault(parent, []).append(place)
    at, last = -1, len(verdict.sampled) - 1
    for number, token in enumerate(verdict.sampled):
        below = children.get(at, [])
        if not below:
            return number == last
        if token != verdict.argmax[below[0]]:
            return False
        at = next((place for place in below if verdict.drafts[place] == token), -2)
        if (at == -2) != (number == last):
            return False
    return True


def _belongs(step: Step, verdict: Verified) -> bool:
    if len(step.sampled) != len(verdict.sampled):
        return False
    known = None if step.drafts is None or min(step.drafts, default=0) < 0 else step.drafts
    return known is None or verdict.parents is not None or verdict.drafts[: step.drafted] == known


def _chain(step: Step, verdict: Verified | None, accepted: int) -> list[NodeRecord]:
    drafts = list(verdict.drafts if verdict else step.drafts or step.sampled[:accepted])
    drafts = (drafts + [UNKNOWN_TOKEN] * step.drafted)[: step.drafted]
    return [
        _node(i, i - 1 if i else None, i + 1, 0, token, verdict, accepted=i < accepted)
        for i, token in enumerate(drafts)
    ]


def _tree(step: Step, verdict: Verified, accepted: int) -> list[NodeRecord]:
    """The nodes of a tree. The accepted path follows the tokens that were sampled."""
    parents = verdict.parents or ()
    children: dict[int, list[int]] = {}
    depths: list[int] = []
    for place, parent in enumerate(parents):
        depths.append(1 if parent < 0 else depths[parent] + 1)
        children.setdefault(parent, []).append(place)
    path, at = set[int](), -1
    for token in verdict.sampled[:accepted]:
        at = next((child for child in children.get(at, ()) if verdict.drafts[child] == token), -2)
        path.add(at)
    if -2 in path:  # it is not told which were accepted
        return _chain(step, None, accepted)
    return [
        _node(
            place,
            None if parent < 0 else parent,
            depths[place],
            children[parent].index(place),
            verdict.drafts[place],
            verdict,
            accepted=place in path,
        )
        for place, parent in enumerate(parents)
    ]


def _node(
    place: int,
    parent: int | None,
    depth: int,
    rank: int,
    token: int,
    verdict: Verified | None,
    *,
    accepted: bool,
) -> NodeRecord:
    columns = (
        (verdict.draft_p, verdict.target_p, verdict.draft_entropy, verdict.target_entropy)
        if verdict is not None and place < len(verdict.drafts)
        else (None,) * 4
    )
    draft_p, target_p, draft_entropy, target_entropy = (
        None if column is None else column[place] for column in columns
    )
    argmax = None if verdict is None or place >= len(verdict.drafts) else verdict.argmax
    return NodeRecord(
        idx=place,
        parent=parent,
        depth=depth,
        rank=rank,
        token_id=max(token, UNKNOWN_TOKEN),
        draft_p=draft_p,
        target_p=target_p,
        draft_entropy=draft_entropy,
        target_entropy=target_entropy,
        match=None if argmax is None else token == argmax[place],
        accepted=accepted,
    )
