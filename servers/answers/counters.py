"""A server's counters of speculation at one moment, as whole numbers."""

from __future__ import annotations

import time

from spectui.servers.answers.vllm import Counts
from spectui.servers.client import Client
from spectui.servers.errors import ServerError
from spectui.servers.metrics import PageError, read_page


def read_counts(client: Client) -> Counts | None:
    """The counters at this moment; None where the page does not count generated tokens. Raises `ServerError`."""
    try:
        sample = read_page(client.text("/metrics"), time.time())
    except PageError as error:
        raise ServerError(f"{client.address}: {error}") from error
    if sample.generated is None:
        return None
    return Counts(
        int(sample.drafts or 0),
        int(sample.drafted or 0),
        int(sample.accepted or 0),
        tuple(int(count) for count in sample.by_position),
        int(sample.generated),
    )
