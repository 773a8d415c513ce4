"""Another engine on the same CPU: llama.cpp, plain and with our head as its draft, beside ours, prompt by prompt.

    python -m tests.bench.llamacpp_speed --target target.gguf --head head.gguf

GGUF files are made as docs/how-to/head-elsewhere.md says, here with ``--outtype f16``. Engines take turns on each
prompt, as a shared machine drifts; each has `--threads` to itself while it decodes, and OMP_NUM_THREADS those of ours.
Prefill is left out. It wants a quiet machine: llama.cpp's threads spin while they wait for each other.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import ExitStack

from spectui.decoding import RunConfig, SpeculativeDecoder
from spectui.prompts import bundled, interleave
from spectui.servers.client import Client
from tests.servers.llama_server import EAGLE, PLAIN, LlamaServer


def main() -> None:
    """Print tokens per second of each engine: the median over prompts, and the quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="GGUF of the embedded target")
    parser.add_argument("--head", help="GGUF of the head")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    prompts = interleave(bundled())[: options.prompts]
    speeds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        engines: dict[str, Callable[[str], float]] = {}
        for name, drafting in (("llama.cpp, plain", PLAIN), ("llama.cpp, our head", EAGLE)):
            if drafting == EAGLE and not options.head:
                continue
            server = stack.enter_context(
                LlamaServer(options.target, drafting, head=options.head or "", threads=options.threads)
            )
            client = stack.enter_context(Client(server.address))
            engines[name] = _server(client, options.max_new_tokens)
        for name, speculate in (("spectui, plain", False), ("spectui, eagle", True)):
            config = RunConfig(max_new_tokens=options.max_new_tokens, speculate=speculate, tree="dynamic:3x2")
            engines[name] = _ours(SpeculativeDecoder(config))
        for number, prompt in enumerate(prompts):
            for name, decode in engines.items():
                speed = decode(prompt.text)
                if number:  # the first one warms up
                    speeds.setdefault(name, []).append(speed)
    for name, each in speeds.items():
        low, middle, high = statistics.quantiles(each, n=4)
        print(f"{name:22} {middle:6.1f} tok/s [{low:.1f}, {high:.1f}]")


def _server(client: Client, tokens: int) -> Callable[[str], float]:
    def decode(text: str) -> float:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0}
        timings = client.post("/v1/chat/completions", body)["timings"]
        return float(timings["predicted_per_second"])

    return decode


def _ours(decoder: SpeculativeDecoder) -> Callable[[str], float]:
    def decode(text: str) -> float:
        rounds = list(decoder.generate(text))
        ms = sum(each.draft_ms + each.verify_ms + each.other_ms for each in rounds)
        return 1000 * sum(len(each.tokens) for each in rounds) / ms

    return decode


if __name__ == "__main__":
    main()
