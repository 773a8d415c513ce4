"""All that a session recorded, but times: what has to come out alike whoever decoded it."""

from __future__ import annotations

from typing import Any

from spectui.store.reading.reader import Reader

CONTENT = (
    "SELECT position, status, finish_reason, output, prompt_tokens, number, prefix_length, accepted_length,"
    " bonus_token_id, cut, idx, parent, depth, rank, token_id, draft_p, target_p, draft_entropy, target_entropy,"
    ' "match", accepted FROM generation JOIN round ON round.generation_id = generation.id'
    " JOIN node ON node.round_id = round.id WHERE session_id = ? ORDER BY position, number, idx"
)


def content(reader: Reader, session_id: int) -> list[tuple[Any, ...]]:
    """Every node with its round and its prompt, in order."""
    return reader.fetch(CONTENT, session_id)
