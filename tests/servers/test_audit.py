"""Protects `spectui audit`: real llama.cpp servers judged right, and verdicts on outputs that part as planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spectui.decoding.errors import DecodingError
from spectui.prompts import Prompt
from spectui.servers.audit import local
from spectui.servers.audit.outputs import Choice, Output, Token, read_output
from spectui.servers.audit.verdict import LEAST_NATS, NOISE, TIE_NATS, Compared, Parting, audit_of, compare
from spectui.servers.errors import ServerError
from spectui.tui.cli import main
from tests.servers.llama_server import PENALTY, PLAIN, LlamaServer
from tests.servers.scripted import Reply, ScriptedServer, as_json

QUESTIONS = (
    "Count: 1 2 3 4 5 1 2 3 4 5. Repeat that list twice.",
    "Name three colours.",
    "What is 7 times 8?",
)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "p.jsonl"
    path.write_text("".join(json.dumps({"task": "t", "prompt": each}) + "\n" for each in QUESTIONS))
    return path


def audit(prompts: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["audit", "--prompts", str(prompts), "--max-new-tokens", "24", *arguments, "--json"]
    )


# Real servers.


@pytest.fixture(scope="module")
def plain(gguf: Path) -> Iterator[str]:
    with LlamaServer(gguf, PLAIN) as server:
        yield server.address


@pytest.mark.model
def test_a_server_that_speculates_is_as_the_same_one_without(
    prompts: Path, looking_up: LlamaServer, plain: str
) -> None:
    done = audit(prompts, "--server", looking_up.address, "--against", plain)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["verdict"], result["counts"]) == ("identical", {"identical": 3})
    assert result["server"]["kind"] == "llama.cpp"


@pytest.mark.model
def test_every_token_is_judged_by_the_target_here(prompts: Path, looking_up: LlamaServer) -> None:
    """Its weights are the server's, unpacked: rounding differs by far more than between two float32 programs."""
    done = audit(prompts, "--server", looking_up.address)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] in ("identical", "tie")
    assert LEAST_NATS < result["limit_nats"] <= TIE_NATS
    assert "float32" in result["against"]
    assert all(each["tokens"] > 3 and not each["failure"] for each in result["outputs"])


@pytest.mark.model
def test_a_server_with_a_penalty_of_its_own_is_found_out(prompts: Path, gguf: Path, plain: str) -> None:
    with LlamaServer(gguf, PENALTY) as server:
        done = audit(prompts, "--server", server.address, "--against", plain)
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert result["verdict"] == "bug"
    assert (
        max(p["margin_nats"] for each in result["outputs"] for p in each["partings"]) > result["limit_nats"]
    )


@pytest.mark.parametrize("length", [10, 500_000], ids=["in the pipe", "beyond the pipe"])
def test_a_process_with_the_target_that_dies_is_said(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that the system kills for its memory: a module that does not exist ends as fast. A broken pipe would pass
    for that of a reader of the output who has gone, and end the command without a word."""
    monkeypatch.setattr(local, "MODULE", "spectui.no_such_module")
    judged = local.judge([Prompt("a", "t", "x" * length)], [Output((), None)], {})
    with pytest.raises(DecodingError, match="the process with the target ended before its work was done"):
        list(judged)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--server", "http://127.0.0.1:9"), "no server answers at http://127.0.0.1:9"),
        (("--server", "no url at all"), "--server is 'no url at all'"),
        (("--server", "http://127.0.0.1:9", "--max-new-tokens", "0"), "--max-new-tokens"),
        (
            ("--server", "http://127.0.0.1:9", "--against", "http://127.0.0.1:8", "--raw"),
            "belong to --against local",
        ),
        (("--server", "http://127.0.0.1:9", "--against", "there:x"), "--against is 'there:x'"),
    ],
)
def test_what_cannot_be_audited_is_said_in_a_line(
    prompts: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = audit(prompts, *arguments)
    assert done.exit_code in (1, 2)
    assert words in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_server_that_goes_away_is_given_up_and_not_called_identical(tmp_path: Path) -> None:
    several = tmp_path / "p.jsonl"
    several.write_text("".join(json.dumps({"task": "t", "prompt": f"Say {n}."}) + "\n" for n in range(9)))

    def server(answers: int) -> ScriptedServer:
        def chat(_: dict[str, Any]) -> Reply:
            chats = sum(path.endswith("completions") for path, _ in scripted.asked)
            return as_json(answer("stop", "Hi", HI)) if chats <= answers else as_json({"error": "gone"}, 503)

        models = as_json({"data": [{"id": "m", "owned_by": "vllm"}]})
        scripted = ScriptedServer({"/v1/models": lambda _: models, "/v1/chat/completions": chat})
        return scripted

    with server(2) as dying, server(9) as other:
        done = audit(several, "--server", dying.address, "--against", other.address)
        words = CliRunner().invoke(
            main, ["audit", "--prompts", str(several), "--server", dying.address, "--against", other.address]
        )
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert (result["verdict"], result["counts"]) == ("failed", {"identical": 2, "failed": 7})
    assert sum(path.endswith("completions") for path, _ in dying.asked) == 2 + 3 + 1
    assert "gone" in words.stderr  # not even the first prompt is answered now


# What answers say.


def answer(reason: str, content: str, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {
        "finish_reason": reason,
        "message": {"content": content},
        "logprobs": {"content": list(entries)},
    }
    return {"choices": [choice | more], "usage": {"prompt_tokens": 9}}


def entry(text: str, logprob: float = -0.1, **more: Any) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": logprob, "top_logprobs": []} | more


HI = entry("Hi", top_logprobs=[{"token": "Yo", "bytes": [89, 111], "logprob": -2.5},
                               {"token": "Hi", "bytes": [72, 105], "logprob": -0.1}])  # fmt: skip


@pytest.mark.parametrize(
    "ended",
    [
        answer("stop", "Hi", HI, entry("", id=2)),  # llama.cpp: without text
        answer("stop", "Hi", HI, entry("<|im_end|>"), token_ids=[7, 2]),  # vLLM: by its name
        answer("stop", "Hi", HI),  # not listed
    ],
)
def test_an_end_token_is_one_however_a_server_lists_it(ended: dict[str, Any]) -> None:
    output = read_output(ended)
    assert output.ended
    assert [token.piece for token in output.spoken] == [b"Hi"]
    assert output.tokens[0].gap_to(Choice(None, b"Yo", 0.0)) == pytest.approx(2.4)
    assert compare("p", "t", output, read_output(answer("stop", "Hi", HI))).partings == ()
    cut = read_output(answer("length", "Hi Yo", HI, entry(" Yo")))
    (parting,) = compare("p", "t", output, cut).partings
    assert (parting.place, parting.token, parting.choice) == (1, "the end", "' Yo'")


def test_tokens_that_a_round_gave_have_no_log_probability() -> None:
    """llama.cpp gives 0.0 for them, and no likely tokens beside them."""
    output = read_output(answer("length", "Hi", entry("Hi", 0.0)))
    assert output.tokens[0].logprob is None
    assert output.tokens[0].rival is None


@pytest.mark.parametrize(
    "wrong", [{}, [], {"choices": [{}]}, answer("stop", "x") | {"choices": [{"finish_reason": "stop"}]}]
)
def test_an_answer_without_tokens_is_refused(wrong: Any) -> None:
    with pytest.raises((KeyError, IndexError, TypeError)):
        read_output(wrong)
    with pytest.raises(ServerError, match="ended with 'abort'"):
        read_output(answer("abort", "Hi", HI))


# Verdicts.


def output(*gaps: tuple[str, float]) -> Output:
    """Tokens, each with a rival that is so many nats behind, or before it where the gap is negative."""
    return Output(
        tuple(
            Token(
                None, text.encode(),
                choices=tuple(sorted((Choice(None, text.encode(), -1.0), Choice(None, b"rival", -1.0 - gap)),
                                     key=lambda each: -each.logprob)),
            )
            for text, gap in gaps
        ),
        9,
    )  # fmt: skip


SAME = [("a", 2.0)] * 40


@pytest.mark.parametrize(
    ("parted", "noise", "verdict"),
    [
        (0.001, 0.0, "tie"),  # below what any precision tells
        (0.1, 0.0, "bug"),  # both compute alike to the last digit
        (0.1, 0.05, "tie"),
        (0.4, 0.05, "bug"),
        (1.5, 9.0, "bug"),  # no noise excuses that
    ],
)
def test_a_margin_is_rounding_where_both_differ_as_much_elsewhere(
    parted: float, noise: float, verdict: str
) -> None:
    here = output(*[(text, gap + noise) for text, gap in SAME], ("rival", 0.1), ("x", 1.0))
    there = output(*SAME, ("b", parted), ("y", 1.0))
    compared = compare("p", "t", here, there)
    (parting,) = compared.partings
    assert (parting.place, parting.at_least) == (40, False)
    assert parting.margin == pytest.approx(parted)
    audit = audit_of([compared])
    assert audit.verdict == verdict
    assert audit.limit == pytest.approx(min(max(NOISE * noise, LEAST_NATS), TIE_NATS))
    assert audit_of([compared], tolerance=2.0).verdict == "tie"


def test_a_token_that_the_reference_does_not_list_has_at_least_the_margin_of_the_last() -> None:
    (parting,) = compare("p", "t", output(*SAME, ("odd", 1.0)), output(*SAME, ("b", 3.0))).partings
    assert parting.at_least
    assert parting.margin == pytest.approx(3.0)
    small = compare("p", "t", output(*SAME, ("odd", 1.0)), output(*SAME, ("b", 0.01)))
    assert audit_of([small]).verdict == "unknown"


def test_other_prompts_and_broken_outputs_are_not_compared() -> None:
    here, there = output(*SAME), output(*SAME)
    other = compare("p", "t", here, Output(there.tokens, 12))
    assert "chat templates differ" in other.failure
    short = compare("p", "t", Output(here.tokens[:5], 9), there)
    assert "stopped before its limit" in short.failure
    refused = compare("p", "t", here, Output((), None, "the prompt is too long"))
    assert refused.failure == "the prompt is too long"
    audit = audit_of([other, short, refused])
    assert (audit.verdict, audit.counts) == ("failed", {"failed": 3})
    same = compare("p", "t", here, there)
    assert audit_of([same, other, short]).verdict == "failed"  # of one in three nothing follows for the rest
    assert audit_of([same, same, other, short]).verdict == "identical"


def test_one_bug_outweighs_all_else() -> None:
    tie, bug = (Compared("p", "t", 9, (Parting(3, "a", "b", margin),)) for margin in (0.001, 5.0))
    assert audit_of([Compared("p", "t", 9), tie]).verdict == "tie"
    assert audit_of([Compared("p", "t", 9), tie, bug]).verdict == "bug"
