"""A server's counters of speculation, summed over its engines."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from spectui.servers.answers.vllm import Counts
from spectui.servers.client import Client
from spectui.servers.errors import ServerError

_DRAFTS = "vllm:spec_decode_num_drafts_total"
_DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
_POSITIONS = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
_GENERATED = "vllm:generation_tokens_total"
_NAMES = (_DRAFTS, _DRAFTED, _ACCEPTED, _POSITIONS, _GENERATED)


def read_counts(client: Client) -> Counts | None:
    """The counters at this moment; None where the page has none of generated tokens. Raises `ServerError`."""
    lines = [line for line in client.text("/metrics").splitlines() if line.startswith(_NAMES)]
    sums: dict[tuple[str, str], float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                key = (sample.name, sample.labels.get("position", ""))
                sums[key] = sums.get(key, 0.0) + float(sample.value)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ServerError(f"{client.address}/metrics is no page of metrics") from error
    if (_GENERATED, "") not in sums:
        return None
    positions = sum(1 for name, _ in sums if name == _POSITIONS)
    drafts, drafted, accepted = (int(sums.get((name, ""), 0)) for name in (_DRAFTS, _DRAFTED, _ACCEPTED))
    return Counts(
        drafts,
        drafted,
        accepted,
        tuple(int(sums.get((_POSITIONS, str(place)), 0)) for place in range(positions)),
        int(sums[_GENERATED, ""]),
    )
