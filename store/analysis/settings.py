"""Differences in the set-up of two sessions, and the figures that can be compared despite them."""

from __future__ import annotations

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.analysis.populations import round_trees
from spectui.store.rows import SessionSummary

NAMES = {
    "temperature": "temperature",
    "top_p": "top-p",
    "max_new_tokens": "new tokens at most",
    "dtype": "number type",
    "quantization": "quantization",
    "raw": "raw prompts",
    "template_args": "template arguments",
    "seed": "seed",
    "device": "device asked for",
}
"""Keys of a configuration that change the results -> their names in notes."""
ALIKE = 0.95
"""The least share of rounds that must have had the same trees."""


def differing_settings(a: SessionSummary, b: SessionSummary) -> list[str]:
    """Each setting that is not the same in both, as "name this and that"."""
    differing = [
        f"{what} {one} and {other}"
        for what, one, other in (
            ("target", a.target, b.target),
            ("drafter", a.drafter, b.drafter),
            ("tree", a.tree, b.tree),
            ("device", a.device, b.device),
        )
        if one != other
    ]
    for key, what in NAMES.items():
        one, other = a.config.get(key), b.config.get(key)
        if key == "seed" and not (sampled(a) or sampled(b)):
            continue
        if one is not None and other is not None and one != other:
            differing.append(f"{what} {one} and {other}")
    return differing


def sampled(session: SessionSummary) -> bool:
    """True when its text was sampled."""
    temperature = session.config.get("temperature", 0.0)
    return isinstance(temperature, int | float) and temperature > 0.0


def same_sampling(a: Measured, b: Measured) -> bool:
    """True when both decoded greedily, or sampled from one distribution: p and q are those after temperature."""
    return all(
        a.summary.config.get(key, usual) == b.summary.config.get(key, usual)
        for key, usual in (("temperature", 0.0), ("top_p", 1.0))
    )


def same_trees(a: Measured, b: Measured) -> bool:
    """True when rounds of both had the same trees: by name, and as often where each session chose its own."""
    if a.summary.tree != b.summary.tree:
        return False
    if a.summary.id == b.summary.id:
        return True
    one, other = round_trees(a), round_trees(b)
    names, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    shares = [
        np.bincount(each, minlength=len(names)) / max(len(each), 1)
        for each in (place[: len(one)], place[len(one) :])
    ]
    # What a tree of a fixed number of nodes grows to is the draft's own; those of a plan are not one tree.
    if not a.summary.tree.startswith("auto"):
        return bool(shares[0].max(initial=0.0) < ALIKE) or bool(np.minimum(*shares).sum() >= ALIKE)
    return bool(np.minimum(*shares).sum() >= ALIKE)
