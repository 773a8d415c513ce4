"""A real vLLM with the recorder: its rows are the server's own counts and answers. ``make test-vllm``; minutes."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from spectui.prompts import bundled, interleave
from spectui.servers.client import Client
from spectui.servers.metrics import read_page
from spectui.store.reading.reader import Reader
from spectui.store.samples import Sample
from spectui.tui.cli import main
from tests.recorder.records import Records, asked_as
from tests.servers.vllm_server import DRAFTED, MODEL, PYTHON, VllmServer
from tests.waiting import until
from tests.wheel import build_wheel

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="vLLM has an environment of its own: make test-vllm"),
    pytest.mark.timeout(1200),
]
TOKENS, PER_TASK = 48, 2
PROMPTS = [
    prompt
    for prompt in interleave(bundled())
    if prompt.id.endswith(tuple(f"-{n:03d}" for n in range(1, PER_TASK + 1)))
]
FEW_BLOCKS = ("--num-gpu-blocks-override", "12", "--max-num-batched-tokens", "48")
"""Requests that come together have to be put off, and prompts are read in pieces.

In pieces the head of vLLM 0.32 sees another past than in one: of 136 rounds that began at the same place 7 had another
draft than on our own engine, all after prompts of more than 48 tokens. So the comparison is of a server without this.
"""
TOLERANCE = 1e-4


def install(folder: Path) -> Path:
    """A folder for the server's path with what ``pip install --no-deps spectui`` puts into its environment."""
    wheel = build_wheel(folder)
    # The same file, as a pip that has no registry installs it.
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(wheel)], check=True, timeout=300)
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"))


def ask(address: str, request: str, text: str, task: str, **changes: Any) -> dict[str, Any]:
    """The answer to one chat."""
    body = {
        "model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": TOKENS,
        "return_token_ids": True, "vllm_xargs": {"task": task}, **changes,
    }  # fmt: skip
    answer = httpx2.post(
        f"{address}/v1/chat/completions",
        json=body,
        headers={"X-Request-Id": request},
        timeout=300,
        trust_env=False,
    )
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


def counted(address: str) -> Sample:
    with Client(address) as client:
        return read_page(client.text("/metrics"), time.time())


@dataclass(frozen=True)
class Ran:
    """Answers of a server by request, its counters before and after, and what was recorded meanwhile."""

    method: str
    answers: dict[str, dict[str, Any]]
    before: Sample
    after: Sample
    records: Records

    def check_counters(self) -> None:
        """Rounds, drafts and accepted tokens are those that the server counted."""
        rounds = [(number - invalid, len(sampled) - 1)
                  for _, _, number, _, sampled, invalid, _ in self.records.commits if number]  # fmt: skip
        assert len(rounds) == (self.after.drafts or 0) - (self.before.drafts or 0) > 0
        assert sum(drafted for drafted, _ in rounds) == (self.after.drafted or 0) - (self.before.drafted or 0)
        assert sum(accepted for _, accepted in rounds) == (self.after.accepted or 0) - (
            self.before.accepted or 0
        )

    def check_join(self, *, greedy: bool = True) -> None:
        """Every round has exactly one verdict, with the same tokens, which the argmax explains where it was greedy."""
        verdicts = defaultdict(list)
        for verdict in self.records.verdicts:
            verdicts[verdict[0], verdict[1]].append(verdict)
        for name, prefix, number, drafts, sampled, invalid, _ in self.records.commits:
            if not number:
                continue
            (verdict,) = verdicts[name, prefix]
            assert len(verdict[2]) == number
            assert drafts is None or drafts[: number - invalid] == verdict[2][: number - invalid]
            assert sampled == verdict[3]
            if greedy:
                accepted, argmax, allowed = len(sampled) - 1, verdict[5], range(number - invalid)
                matches = next((i for i in allowed if verdict[2][i] != argmax[i]), len(allowed))
                assert matches == accepted, (name, prefix)
                assert accepted == number or sampled[-1] == argmax[accepted], (name, prefix)

    def answered(self) -> dict[tuple[str, int], list[int]]:
        """Request and number of the answer -> token ids as recorded."""
        tokens: dict[tuple[str, int], list[int]] = defaultdict(list)
        for name, _, _, _, sampled, _, kept in self.records.commits:
            tokens[asked_as(name)] += sampled[:kept]
        return tokens


def _settled(folder: Path) -> bool:
    """True when both files are there and end with their counts, which follow a second after the last row."""
    ends = [json.loads(file.read_text().splitlines()[-1])[0] for file in folder.glob("*.jsonl")]
    return ends.count("stat") == 2


@pytest.fixture(scope="module", params=["eagle3", "ngram"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, site: Path) -> Ran:
    """The prompts on a server with each method, one after the other."""
    folder = tmp_path_factory.mktemp(request.param)
    environment = {"PYTHONPATH": str(site), "SPECTUI_VLLM_DIR": str(folder / "rows")}
    with VllmServer(folder / "vllm.log", request.param, environment=environment) as server:
        before = counted(server.address)
        answers = {prompt.id: ask(server.address, prompt.id, prompt.text, prompt.task) for prompt in PROMPTS}
        until(lambda: _settled(folder / "rows"))
        return Ran(request.param, answers, before, counted(server.address), Records(folder / "rows"))


@dataclass(frozen=True)
class Crowded:
    """A server that has too little memory for those who come."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Crowded]:
    folder = tmp_path_factory.mktemp("crowded")
    environment = {"PYTHONPATH": str(site), "SPECTUI_VLLM_DIR": str(folder / "rows")}
    with VllmServer(folder / "vllm.log", "eagle3", arguments=FEW_BLOCKS, environment=environment) as server:
        yield Crowded(server.address, folder / "rows")


def test_rounds_are_those_of_the_counters_and_of_each_requests_arrays(ran: Ran) -> None:
    ran.check_counters()
    rounds = defaultdict(list)
    for name, _, number, _, sampled, invalid, _ in ran.records.commits:
        if number:
            rounds[asked_as(name)[0]].append((number - invalid, len(sampled) - 1))
    for prompt, answer in ran.answers.items():
        own = answer["metrics"]["speculative_decoding"]
        assert rounds[prompt] == list(zip(own["per_step_drafted"], own["per_step_accepted"], strict=True))


def test_every_round_has_its_figures(ran: Ran) -> None:
    ran.check_join()
    drafting = {verdict[8] is not None for verdict in ran.records.verdicts}
    assert drafting == {ran.method == "eagle3"}  # an n-gram drafter has no probabilities
    assert {(stat["errors"], stat["dropped"]) for stat in ran.records.objects("stat")} == {(0, 0)}
    states = {state for stat in ran.records.objects("stat") for state in stat["parts"].values()}
    assert states == {"on"}


def test_answers_are_those_that_the_clients_got(ran: Ran) -> None:
    expected = {(prompt, 0): answer["choices"][0]["token_ids"] for prompt, answer in ran.answers.items()}
    assert ran.answered() == expected
    tasks = {asked_as(row["id"])[0]: row["task"] for row in ran.records.objects("req")}
    assert tasks == {prompt.id: prompt.task for prompt in PROMPTS}
    lengths = {asked_as(row["id"])[0]: row["prompt"] for row in ran.records.objects("req")}
    assert lengths == {prompt: answer["usage"]["prompt_tokens"] for prompt, answer in ran.answers.items()}
    outs = {asked_as(row["id"])[0]: row["out"] for row in ran.records.objects("end")}
    assert outs == {prompt: answer["usage"]["completion_tokens"] for prompt, answer in ran.answers.items()}


def test_figures_are_those_of_our_own_engine(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same head, target, prompts and depth: the same drafts wherever a round starts at the same place."""
    if ran.method != "eagle3":
        pytest.skip("another drafter than here")
    arguments = [
        "run", "--db", str(tmp_path / "ours.db"), "--per-task", str(PER_TASK), "--max-new-tokens", str(TOKENS),
        "--draft", "eagle", "--tree", f"chain:{DRAFTED}", "--dtype", "float32", "--headless",
    ]  # fmt: skip
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    theirs = {(asked_as(verdict[0])[0], verdict[1]): verdict for verdict in ran.records.verdicts}
    rounds = nodes = 0
    worst = dict.fromkeys(("p", "q", "target entropy", "draft entropy"), 0.0)
    with Reader(tmp_path / "ours.db") as reader:
        for generation in reader.generations(1):
            for row in reader.rounds(generation.id):
                verdict = theirs.get((generation.prompt_id, row.prefix_length or 0))
                if verdict is None:
                    continue
                _, _, drafts, _, p, argmax, _, entropy, draft_p, draft_entropy = verdict
                assert [node.token_id for node in row.nodes] == drafts[: len(row.nodes)]
                rounds += 1
                for node, *figures in zip(
                    row.nodes, drafts, argmax, p, draft_p, entropy, draft_entropy, strict=False
                ):
                    nodes += 1
                    draft, best, *values = figures
                    assert node.match == (draft == best)
                    ours = (node.target_p, node.draft_p, node.target_entropy, node.draft_entropy)
                    for name, one, other in zip(worst, ours, values, strict=True):
                        assert one is not None
                        worst[name] = max(worst[name], abs(one - other))
    with capsys.disabled():
        print(f"\n{rounds} rounds and {nodes} nodes as on our own engine; largest differences {worst}")
    assert rounds > 50
    assert max(worst.values()) < TOLERANCE


KINDS = ("plain", "long", "json", "abort", "grow")
SCHEMA = {
    "type": "object", "required": ["answer", "n"],
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
}  # fmt: skip


def _one(address: str, prompt: Any, kind: str) -> dict[str, Any] | None:
    """A request of a kind; None of one that its client leaves."""
    name, text = f"{prompt.id}-{kind}", prompt.text
    if kind == "long":
        return ask(address, name, text * 6, prompt.task)
    if kind == "json":
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        return ask(address, name, text, prompt.task, response_format=form)
    if kind == "grow":
        return ask(address, name, text, prompt.task, max_tokens=300, ignore_eos=True)
    if kind == "plain":
        return ask(address, name, text, prompt.task, stop=["the"])
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 300,
            "ignore_eos": True, "stream": True}  # fmt: skip
    with httpx2.stream("POST", f"{address}/v1/chat/completions", json=body, headers={"X-Request-Id": name}, timeout=300,
                       trust_env=False) as streamed:  # fmt: skip
        next(itertools.islice(streamed.iter_lines(), 12, None))
    return None


def test_a_crowd_with_aborts_and_preemptions_is_recorded_without_a_gap(crowded: Crowded) -> None:
    """40 requests from 6 clients, among them grammars, stop strings and clients that leave."""
    before = counted(crowded.address)
    jobs = [(prompt, kind) for prompt in PROMPTS for kind in KINDS]
    assert len(jobs) == 40
    random.Random(0).shuffle(jobs)
    waiting, lock, answers = iter(jobs), threading.Lock(), {}

    def work() -> None:
        while True:
            with lock:
                job = next(waiting, None)
            if job is None:
                return
            answers[f"{job[0].id}-{job[1]}"] = _one(crowded.address, *job)

    clients = [threading.Thread(target=work) for _ in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(answers) == 40
    until(lambda: _settled(crowded.folder) and len(Records(crowded.folder).objects("end")) == 40, seconds=120)
    records = Records(crowded.folder)
    crowd = Ran("eagle3", {}, before, counted(crowded.address), records)
    crowd.check_counters()
    crowd.check_join()
    recorded_tokens = crowd.answered()
    for name, answer in answers.items():
        for choice in answer["choices"] if answer else ():
            tokens = recorded_tokens[name, choice["index"]]
            # What follows a stop string is cut by another process than the engine.
            ours = tokens[: len(choice["token_ids"])] if choice["stop_reason"] == "the" else tokens
            assert choice["token_ids"] == ours, name
    ends = records.objects("end")
    assert Counter(row["status"] for row in ends)["FINISHED_ABORTED"] >= 8
    assert sum(row["preempted"] for row in ends) > 0
    assert {stat["errors"] for stat in records.objects("stat")} == {0}
    assert {stat["dropped"] for stat in records.objects("stat")} == {0}


def test_two_answers_to_one_request_are_told_apart(crowded: Crowded) -> None:
    """They are sampled: vLLM gives one greedy answer alone."""
    earlier = {row["id"] for row in Records(crowded.folder).objects("req")}
    before, prompt = counted(crowded.address), PROMPTS[0]
    answer = ask(crowded.address, "both", prompt.text, prompt.task, n=2, temperature=0.8)
    until(
        lambda: _settled(crowded.folder) and len(Records(crowded.folder).objects("end")) == len(earlier) + 2
    )
    records = Records(crowded.folder).without(earlier)
    both = Ran("eagle3", {}, before, counted(crowded.address), records)
    both.check_counters()
    both.check_join(greedy=False)
    assert both.answered() == {("both", choice["index"]): choice["token_ids"] for choice in answer["choices"]}
    assert len(answer["choices"]) == 2


BROKEN = """
import itertools
def register():
    from spectui.recorder import register as register_recorder
    from spectui.recorder.vllm import drafts, scheduler, verdicts
    hooks = {
        scheduler.Commits: ("_added", "_freed", "_before_update", "_after_update"),
        verdicts.VerdictsV1: ("_before", "_after"), verdicts.Packed: ("row",),
        drafts.Drafts: ("_before_batch", "_after_batch", "_before_choice", "_after_choice"),
    }
    for owner, names in hooks.items():
        for name in names:
            def broken(*args, old=getattr(owner, name), calls=itertools.count(), **kwargs):
                if next(calls) % 2:
                    raise RuntimeError("broken")
                return old(*args, **kwargs)
            setattr(owner, name, broken)
    register_recorder()
"""
FEW = [prompt for prompt in PROMPTS if prompt.id.endswith("-001")]


def answers_of(
    folder: Path, environment: dict[str, str], within: tuple[str, ...] = ()
) -> tuple[list[list[int]], str]:
    """Token ids of answers of a server with some settings, and its log."""
    folder.mkdir()
    with VllmServer(folder / "vllm.log", "eagle3", environment=environment, within=within) as running:
        answers = [ask(running.address, prompt.id, prompt.text, prompt.task, max_tokens=32) for prompt in FEW]
        with ThreadPoolExecutor(len(FEW)) as pool:  # all at once: more rows than two wait to be written
            list(
                pool.map(
                    lambda prompt: ask(
                        running.address, f"{prompt.id}-again", prompt.text, prompt.task, max_tokens=9
                    ),
                    FEW,
                )
            )
        if (folder / "rows").is_dir() and not within:
            until(lambda: _settled(folder / "rows"))
    return [answer["choices"][0]["token_ids"] for answer in answers], (folder / "vllm.log").read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """Answers of a server that has no spectui in its environment."""
    return answers_of(tmp_path_factory.mktemp("plain") / "server", {})[0]


@pytest.mark.parametrize("trouble", ["full disk", "unwritable folder", "queue of 2", "exceptions"])
def test_the_servers_answers_are_the_same_in_trouble(
    plain: list[list[int]], site: Path, tmp_path: Path, trouble: str
) -> None:
    rows = tmp_path / "server" / "rows"
    environment = {"PYTHONPATH": str(site), "SPECTUI_VLLM_DIR": str(rows)}
    within: tuple[str, ...] = ()
    if trouble == "full disk":
        disk = f'mkdir {rows} && mount -t tmpfs -o size=16k tmpfs {rows} && exec "$@"'
        if subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "true"], check=False
        ).returncode:
            pytest.skip("a disk of its own takes a user namespace")
        within = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", disk, "sh")
    if trouble == "unwritable folder":
        environment["SPECTUI_VLLM_DIR"] = "/proc/spectui"
    if trouble == "queue of 2":
        environment["SPECTUI_VLLM_QUEUE"] = "2"
    if trouble == "exceptions":
        information = tmp_path / "broken" / "broken-1.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
        (information / "entry_points.txt").write_text("[vllm.general_plugins]\nbroken = broken:register\n")
        (tmp_path / "broken" / "broken.py").write_text(BROKEN)
        environment |= {"PYTHONPATH": f"{site}:{tmp_path / 'broken'}", "VLLM_PLUGINS": "broken"}
    answers, log = answers_of(tmp_path / "server", environment, within)
    assert answers == plain
    if trouble in ("full disk", "unwritable folder"):
        lines = [line for line in log.splitlines() if "cannot write into" in line]
        assert 2 <= len(lines) <= 4  # each kind of trouble once a process
    else:
        stats = Records(rows).objects("stat")
        assert sum(stat["dropped"] for stat in stats) > (trouble == "queue of 2") - 1
        assert (sum(stat["errors"] for stat in stats) > 50) == (trouble == "exceptions")
        assert Records(rows).commits
