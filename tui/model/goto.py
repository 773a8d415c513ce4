"""Reads a place to go to in a replay: a prompt, a round, a time, a share. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

HINT = "12: prompt · 12.88: its round · .88: round here · 1:30: time · 50%"

_PROMPT = re.compile(r"(\d+)?(?:\.(\d+))?")
_TIME = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d+)?)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*s")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True)
class ToPrompt:
    """A prompt by its number from 1 (None: the one that is shown), and a round of it."""

    prompt: int | None
    number: int


@dataclass(frozen=True)
class ToTime:
    """Seconds of decoding since the start."""

    seconds: float


@dataclass(frozen=True)
class ToShare:
    """A part of the whole, 0 to 1."""

    part: float


Target = ToPrompt | ToTime | ToShare


def parse(text: str) -> Target:
    """The place that a text names. Raises `ValueError` with the forms there are."""
    text = text.strip()
    if match := _TIME.fullmatch(text):
        hours, minutes, seconds = match.groups()
        return ToTime(int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds))
    if match := _SECONDS.fullmatch(text):
        return ToTime(float(match[1]))
    if match := _SHARE.fullmatch(text):
        return ToShare(min(float(match[1]) / 100, 1.0))
    if text and (match := _PROMPT.fullmatch(text)):
        prompt, number = match.groups()
        return ToPrompt(int(prompt) if prompt else None, max(int(number or 1), 1))
    raise ValueError(f"'{text[:20]}' is no place: 12, 12.88, .88, 1:30, 90s or 50%")
