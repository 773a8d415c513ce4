"""The payoff that `spectui watch` says, from counters alone, against what clients measure with and without speculation.

    python -m tests.bench.watch_payoff                        llama.cpp, drafts accepted at known rates
    python -m tests.bench.watch_payoff URL PLAIN-URL          two servers that run already, such as vLLM's

At 1, 4 and 8 requests at a time both servers answer the same prompts in turn. Prints a line each, and ends with 1 when
one is more than 5 % off, or gets no answer.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from spectui.decoding.checkpoints import embedded
from spectui.servers.client import Client
from spectui.servers.kinds import recognise
from tests.servers.llama_server import PLAIN, SYNTHETIC, LlamaServer
from tests.servers.watch.paired import Compared, Side, compare

CONCURRENCIES = (1, 4, 8)
MOST_OFF = 0.05
LENGTH = 96
REQUESTS = 16
"""Of each server at each concurrency, at least."""


def side(address: str) -> Side:
    """A server with the model that it serves."""
    with Client(address) as client:
        models = recognise(client).models
    return Side(address, models[0] if models else "")


def told(concurrency: int, result: Compared) -> str:
    """A line on one comparison."""
    said, here = result.said, result.here
    words = f"{said.speedup:.3f}" if said.speedup is not None else f"? ({said.why})"
    return (
        f"{concurrency} at a time: watch says {words}, clients {result.truth:.3f}, off {result.error:.1%};"
        f" {here.tokens_per_round or 0:.2f} tokens a round, load {here.load or 0:.2f}, {here.rounds:,.0f} rounds"
    )


def main(addresses: list[str]) -> int:
    """Compare at each concurrency; returns the exit code."""
    worst = 0.0
    with ExitStack() as stack:
        if not addresses:
            gguf = embedded.ensure_gguf()
            kinds = (SYNTHETIC, PLAIN)
            servers = [
                stack.enter_context(LlamaServer(gguf, kind, slots=max(CONCURRENCIES))) for kind in kinds
            ]
            addresses = [server.address for server in servers]
        for concurrency in CONCURRENCIES:
            speculating, plain = map(side, addresses)
            turns = max(REQUESTS // concurrency, 2)
            result = compare(speculating, plain, concurrency=concurrency, turns=turns, length=LENGTH)
            print(told(concurrency, result), flush=True)
            worst = max(worst, result.error)
    return int(worst > MOST_OFF)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
