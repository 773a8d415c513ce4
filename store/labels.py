"""Names and tags of sessions: their rules, and memorable names for sessions without one."""

from __future__ import annotations

import random
import re
from collections.abc import Container, Iterable

from spectui.store.errors import StoreError

MAX_NAME = 80
MAX_TAG = 32
"""Characters."""
MAX_TAGS = 16

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
    """An "adjective-noun" that is not taken; numbered when those drawn all are."""
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
    if len(name) > MAX_NAME:
        raise StoreError(f"the session's name has {len(name)} characters; use at most {MAX_NAME}")
    if not name.isprintable():
        raise StoreError("the session's name has control characters; use letters, digits and dashes")
    if name.isdecimal() or name == "last":
        raise StoreError(f"a session cannot be named '{name}', which means another session; add a letter")
    return name


def read_tags(text: str) -> tuple[str, ...]:
    """The tags in a line of text: words parted by blanks or commas, a leading "#" dropped, sorted, each once.

    Raises `StoreError` for one that is too long, has control characters, or one too many.
    """
    return check_tags(word.lstrip("#") for word in re.split(r"[\s,]+", text))


def check_tags(words: Iterable[str]) -> tuple[str, ...]:
    """`words` in lower case, sorted, each once; the errors of `read_tags`."""
    tags = sorted({word.lower() for word in words if word})
    for tag in tags:
        if len(tag) > MAX_TAG:
            raise StoreError(f"the tag '{tag[:12]}…' has {len(tag)} characters; use at most {MAX_TAG}")
        if not tag.isprintable() or any(c.isspace() or c == "," for c in tag):
            raise StoreError("a tag is one word without control characters; use letters, digits and dashes")
    if len(tags) > MAX_TAGS:
        raise StoreError(f"these are {len(tags)} tags; a session has at most {MAX_TAGS}")
    return tuple(tags)


def join_tags(tags: Iterable[str]) -> str:
    """Tags as the database keeps them."""
    return " ".join(tags)


def split_tags(column: str) -> tuple[str, ...]:
    """The inverse of `join_tags`."""
    return tuple(column.split())
