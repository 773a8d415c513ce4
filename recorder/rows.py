"""Verdicts as files have them, from what the worker copied to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spectui.recorder.settings import Settings
from spectui.recorder.words import clean, figures

THE_DRAFT, OF_ARGMAX, ANOTHER = -1, -2, -3
"""Tokens that are named within their place alone, where ids are left out."""


@dataclass(frozen=True)
class Drafted:
    """Figures of a request's drafts, as the draft model drafted them."""

    tokens: list[int]
    p: list[float]
    entropy: list[float] | None


@dataclass(frozen=True)
class Judged:
    """Figures of a batch's drafts in the target, request after request."""

    requests: list[str]
    counts: list[int]
    """Drafts of each."""
    tokens: list[float]
    position: list[float]
    """Of the token before each draft."""
    p: list[float] | None
    argmax: list[float] | None
    argmax_p: list[float] | None
    entropy: list[float] | None
    sampled: list[list[int]]


def verdicts(judged: Judged, drafted: dict[str, Drafted], settings: Settings) -> list[Any] | None:
    """The row of a step; None of a step without a draft."""
    rows: list[list[Any]] = []
    at = 0
    for request, count, sampled in zip(judged.requests, judged.counts, judged.sampled, strict=True):
        if not count:
            continue
        part = slice(at, at + count)
        at += count
        drafts = [int(token) for token in judged.tokens[part]]
        argmax = None if judged.argmax is None else [int(token) for token in judged.argmax[part]]
        of_draft = drafted.get(request)
        if of_draft is not None and of_draft.tokens[:count] != drafts:
            of_draft = None  # drafted anew, or by something else
        row: list[Any] = [clean(request), int(judged.position[part][0]) + 1]
        row += [drafts, sampled] if settings.ids else [[THE_DRAFT] * count, _within(drafts, argmax, sampled)]
        row.append(_figures(judged.p, part))
        row.append(argmax if settings.ids or argmax is None else _within(drafts, argmax, argmax))
        row += [_figures(judged.argmax_p, part), _figures(judged.entropy, part)]
        row.append(_figures(of_draft.p, slice(count)) if of_draft else None)
        row.append(_figures(of_draft.entropy, slice(count)) if of_draft else None)
        rows.append(row)
    return ["verify", rows] if rows else None


def _figures(values: Sequence[float] | None, part: slice) -> list[float | None] | None:
    return None if values is None else figures(values[part])


def _within(drafts: list[int], argmax: list[int] | None, tokens: list[int]) -> list[int]:
    """Tokens as they are named where ids are left out."""
    named = []
    for place, token in enumerate(tokens):
        if drafts[place : place + 1] == [token]:
            named.append(THE_DRAFT)
        elif argmax is not None and argmax[place : place + 1] == [token]:
            named.append(OF_ARGMAX)
        else:
            named.append(ANOTHER)
    return named
