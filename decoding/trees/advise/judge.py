"""Choosing among replayed trees, and judging a choice on prompts that it was not made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectui.decoding.trees.advise.estimates import Estimate, Prompts
from spectui.decoding.trees.advise.prices import Priced
from spectui.decoding.trees.advise.replay import Replay
from spectui.decoding.trees.candidates import Candidate, RoundKind, choose
from spectui.store.reading.columns import Bools, Floats, Ints

FOLDS = 5
"""Parts that prompts are dealt to: a tree is chosen on all others and judged on one, so that the luck of the
choice is no gain."""


@dataclass(frozen=True)
class Judged:
    """A tree on some prompts, with its speed-up over decoding one token at a time."""

    tree: str
    tokens_per_round: Estimate
    """Its interval is that of what as many other prompts would show."""
    speedup: Estimate
    bounds: tuple[float, float]
    """Tokens per round if all, or nothing, of what was not recorded were accepted."""


def best_of(replays: dict[str, Replay], chosen: Bools) -> str:
    """The tree of most tokens per millisecond on the prompts `chosen` (``[P]`` booleans), or the smallest of
    those within `decoding.trees.candidates.SLACK` of it."""
    candidates = [
        Candidate(r.nodes, r.levels, float(r.tokens[chosen].sum()), float(r.ms[chosen].sum()), name)
        for name, r in replays.items()
    ]
    return choose([RoundKind(1.0, candidates)]).candidates[0].name


def out_of_fold(replays: dict[str, Replay], groups: Ints) -> tuple[list[str], list[str]]:
    """Each prompt's tree as chosen on other prompts: on those of its task, and on all of them."""
    prompts = len(groups)
    of_task, of_all = [""] * prompts, [""] * prompts
    fold = np.zeros(prompts, dtype=np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        fold[members] = np.arange(len(members)) % FOLDS
    for part in np.unique(fold):
        others, judged = fold != part, fold == part
        if not others.any():
            others = judged
        single = best_of(replays, others)
        for group in np.unique(groups[judged]):
            of_group = others & (groups == group)
            name = best_of(replays, of_group) if of_group.any() else single
            for prompt in np.flatnonzero(judged & (groups == group)):
                of_task[prompt], of_all[prompt] = name, single
    return of_task, of_all


def in_sample(replays: dict[str, Replay], groups: Ints) -> tuple[list[str], list[Replay]]:
    """Each prompt's tree as chosen on all prompts: on those of its task, and on all of them."""
    of_task = {group: best_of(replays, groups == group) for group in np.unique(groups).tolist()}
    single = replays[best_of(replays, np.ones(len(groups), dtype=np.bool_))]
    return [of_task[group] for group in groups.tolist()], [single] * len(groups)


class Judge:
    """Figures of replayed trees with their intervals. A choice is the name of each prompt's tree."""

    def __init__(self, replays: dict[str, Replay], priced: Priced, prompts: Prompts) -> None:
        self._replays = replays
        self._priced = priced
        self._prompts = prompts

    def judged(self, replay: Replay, only: int | None) -> Judged:
        """One tree on all prompts, or on those of one task alone."""
        chosen = np.ones(len(replay.tokens), dtype=np.bool_) if only is None else self._prompts.members(only)
        tokens = float(replay.tokens[chosen].sum())
        return Judged(
            replay.tree,
            self._prompts.ratio([(replay.tokens, replay.rounds)], only=only, new_prompts=True).within(
                1.0, replay.deepest + 1.0
            ),
            self._over_plain([replay] * len(replay.tokens), only),
            (
                tokens / max(float(replay.high_rounds[chosen].sum()), 1.0),
                tokens / max(float(replay.low_rounds[chosen].sum()), 1.0),
            ),
        )

    def over_plain(self, choice: Sequence[str], only: int | None) -> Estimate:
        """Tokens per second over decoding one at a time."""
        return self._over_plain(self.replays(choice), only)

    def _over_plain(self, replays: Sequence[Replay], only: int | None) -> Estimate:
        tokens, ms = _columns(replays)
        plain = self._priced.factors(0, 0) - self._costs(replays, only)
        return self._prompts.ratio(
            [(tokens * self._priced.plain_ms, ms)], only=only, costs=float(plain.std())
        )

    def gain(
        self, choice: Sequence[str], others: Sequence[Replay], only: int | None, *, out_of_fold: bool = True
    ) -> Estimate:
        """Tokens per second over those of `others`, one of each prompt, on the same prompts.

        `out_of_fold` is False of a choice that was made on the prompts that it is judged on.
        """
        replays = self.replays(choice)
        (tokens, ms), (other_tokens, other_ms) = _columns(replays), _columns(others)
        costs = self._costs(others, only) - self._costs(replays, only)
        return self._prompts.ratio(
            [(tokens, ms), (other_ms, other_tokens)],
            only=only,
            costs=float(costs.std()),
            folds=min(FOLDS, self._prompts.most) if out_of_fold else 0,
        )

    def rate(self, replay: Replay) -> float:
        """Tokens per millisecond."""
        return float(replay.tokens.sum() / replay.ms.sum())

    def replays(self, choice: Sequence[str]) -> list[Replay]:
        """The replays of a choice."""
        return [self._replays[name] for name in choice]

    def _costs(self, replays: Sequence[Replay], only: int | None) -> Floats:
        """``[DRAWS]``: the logarithm of what all their rounds together may cost over what they are taken to."""
        chosen = range(len(replays)) if only is None else np.flatnonzero(self._prompts.members(only)).tolist()
        ms: dict[tuple[float, float], float] = {}
        for prompt in chosen:
            replay = replays[prompt]
            size = replay.nodes, replay.levels
            ms[size] = ms.get(size, 0.0) + float(replay.ms[prompt])
        total = sum(ms.values())
        drawn = sum((share / total) * np.exp(self._priced.factors(*size)) for size, share in ms.items())
        return np.asarray(np.log(drawn))


def _columns(replays: Sequence[Replay]) -> tuple[Floats, Floats]:
    """Tokens and milliseconds of each prompt by its own tree."""
    prompts = range(len(replays))
    return (
        np.array([replays[prompt].tokens[prompt] for prompt in prompts]),
        np.array([replays[prompt].ms[prompt] for prompt in prompts]),
    )
