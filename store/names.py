"""Memorable names for sessions that are given none, and what a name may be."""

from __future__ import annotations

import random
from collections.abc import Container

from spectui.store.errors import StoreError

MAX_LENGTH = 80

_ADJECTIVES = """
amber bold brave bright brisk calm clear clever cool coral crisp curious daring deep eager early
easy even fair fine fleet fond fresh gentle glad golden grand green happy hardy hazel honest humble
ivory jolly keen kind late lean light lively lucid lucky lunar mellow merry mild misty modest neat
nimble noble olive patient placid plain proud quick quiet rapid ready red rosy royal rustic sharp
shy silent silver smooth snug solar solid spry steady still sunny sure swift tidy tranquil true
vivid warm wise witty young zesty
"""

_NOUNS = """
acorn alder aspen badger bay beacon beaver birch bison bramble breeze brook canyon cedar cliff
clover comet condor cove crane creek cricket delta dune eagle elm ember falcon fern finch fjord
forest fox glacier glade gorge grove gull harbor hare hawk heron hill ibex iris island jay juniper
kestrel lagoon lake lantern lark linden lynx maple marsh meadow mesa moth mountain oak ocean orchard
osprey otter owl pebble pine plover pond poppy prairie quail rain raven reef ridge river robin sage
shore sparrow spruce stream summit swallow swan thistle tide trout tundra valley violet walnut
willow wren
"""


def fresh_name(taken: Container[str]) -> str:
    """An "adjective-noun" that is not taken; numbered when luck runs out."""
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    number = 1
    while True:
        for _ in range(64):
            name = f"{random.choice(adjectives)}-{random.choice(nouns)}"
            if number > 1:
                name = f"{name}-{number}"
            if name not in taken:
                return name
        number += 1


def check_name(name: str) -> str:
    """`name` without blanks around it. Raises `StoreError` when it could not be told from an id or "last"."""
    name = name.strip()
    if not name:
        raise StoreError("the session's name is empty; give it at least one letter")
    if len(name) > MAX_LENGTH:
        raise StoreError(f"the session's name has {len(name)} characters; use at most {MAX_LENGTH}")
    if not name.isprintable():
        raise StoreError("the session's name has control characters; use letters, digits and dashes")
    if name.isdecimal() or name == "last":
        raise StoreError(f"a session cannot be named '{name}', which means another session; add a letter")
    return name
