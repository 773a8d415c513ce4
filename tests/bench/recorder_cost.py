"""The recorder's own time a step inside vLLM, by part, in a real server and by the number of requests.

python -m tests.bench.recorder_cost [--server /path/to/python/with/vllm] [--clients 1 4] [--without]

Without a server: the part in the engine alone, on steps of a small stand-in with 1 to 256 requests.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx2

from spectui.prompts import bundled, interleave
from spectui.recorder.__main__ import report
from spectui.recorder.settings import Settings
from spectui.recorder.sink import Sink
from spectui.recorder.vllm.scheduler import Commits
from tests.recorder.fake_vllm import DRAFTED, Request, modules


def of_engine(requests: int, steps: int = 200) -> str:
    """A line with the time of a step in the engine's process."""
    with tempfile.TemporaryDirectory() as folder:
        import logging

        sink = Sink(Settings(folder), "engine", "vllm", logging.getLogger("bench"))
        made = modules("0.33.0")
        commits = Commits(sink)
        commits.change(made["vllm.v1.core.sched.scheduler"])
        sys.modules.setdefault("vllm", SimpleNamespace(__version__="stand-in"))  # type: ignore[arg-type]
        scheduler = made["vllm.v1.core.sched.scheduler"].Scheduler()
        running = [Request(f"chatcmpl-{place:08d}-01234567", range(40), 10**9) for place in range(requests)]
        for request in running:
            scheduler.add_request(request)
        names = [request.request_id for request in running]
        scheduled = SimpleNamespace(
            num_scheduled_tokens=dict.fromkeys(names, 1 + DRAFTED),
            scheduled_spec_decode_tokens={name: [5, 6, 7] for name in names},
            num_invalid_spec_tokens=None,
        )
        output = SimpleNamespace(
            sampled_token_ids=[[5, 6]] * requests,
            req_id_to_index={name: place for place, name in enumerate(names)},
        )
        for _ in range(steps):
            scheduler.update_from_output(scheduled, output)
            time.sleep(0.01)  # the model's
        sink.close()
        times = sink._counts()["times"]
        return (
            f"{requests:4} requests: {times['commits']['p50_us']:7.1f} µs a step (median; 99 %: "
            f"{times['commits']['p99_us']:.1f}), writer {times['writer']['mean_us']:.1f} µs a row"
        )


def of_server(python: str, clients: int, most: int, on: bool) -> None:
    """Speed of a server, and the recorder's own time in it."""
    os.environ["SPECTUI_VLLM"] = python
    from tests.recorder.test_real_vllm import install
    from tests.servers.vllm_server import MODEL, VllmServer

    prompts = [prompt for prompt in interleave(bundled()) if prompt.id.endswith(("-001", "-002"))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"PYTHONPATH": str(install(folder))}
        if on:
            environment["SPECTUI_VLLM_DIR"] = str(folder / "rows")
        with VllmServer(folder / "vllm.log", "eagle3", environment=environment) as server:

            def ask(text: str) -> int:
                body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0,
                        "max_tokens": most, "ignore_eos": True}  # fmt: skip
                answer = httpx2.post(
                    f"{server.address}/v1/chat/completions", json=body, timeout=600, trust_env=False
                )
                return int(json.loads(answer.text)["usage"]["completion_tokens"])

            ask(prompts[0].text)
            begun = time.monotonic()
            with ThreadPoolExecutor(clients) as pool:
                tokens = sum(pool.map(ask, [prompt.text for prompt in prompts]))
            spent = time.monotonic() - begun
            print(
                f"{clients} clients, recorder {'on' if on else 'off'}: {tokens / spent:.1f} tokens a second"
            )
            if on:
                threading.Event().wait(3)  # its counts follow when the server rests
                print("\n".join(report(folder / "rows")))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.environ.get("SPECTUI_VLLM", ""))
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--without", action="store_true", help="measure the speed without the recorder, too")
    args = parser.parse_args()
    for requests in (1, 16, 64, 256):
        print(of_engine(requests), flush=True)
    for clients in args.clients if args.server else ():
        for on in (False, True) if args.without else (True,):
            of_server(args.server, clients, args.max_new_tokens, on)
    return 0


if __name__ == "__main__":
    sys.exit(main())
