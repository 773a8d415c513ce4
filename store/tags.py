"""What a tag may be: short words by which sessions are found again."""

from __future__ import annotations

import re
from collections.abc import Iterable

from spectui.store.errors import StoreError

MAX_LENGTH = 32
MAX_TAGS = 16


def read_tags(text: str) -> tuple[str, ...]:
    """The tags in a line of text: words parted by blanks or commas, a leading "#" dropped, sorted, each once.

    Raises `StoreError` for one that is too long, has control characters, or one too many.
    """
    return check_tags(word.lstrip("#") for word in re.split(r"[\s,]+", text))


def check_tags(words: Iterable[str]) -> tuple[str, ...]:
    """`words` in lower case, sorted, each once; the errors of `read_tags`."""
    tags = sorted({word.lower() for word in words if word})
    for tag in tags:
        if len(tag) > MAX_LENGTH:
            raise StoreError(f"the tag '{tag[:12]}…' has {len(tag)} characters; use at most {MAX_LENGTH}")
        if not tag.isprintable() or any(c.isspace() or c == "," for c in tag):
            raise StoreError("a tag is one word without control characters; use letters, digits and dashes")
    if len(tags) > MAX_TAGS:
        raise StoreError(f"these are {len(tags)} tags; a session has at most {MAX_TAGS}")
    return tuple(tags)


def joined(tags: Iterable[str]) -> str:
    """Tags as the database keeps them."""
    return " ".join(tags)


def parted(column: str) -> tuple[str, ...]:
    """The inverse of `joined`."""
    return tuple(column.split())
