"""Outputs judged by the target here, in a process of its own that has the model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from spectui.decoding.errors import DecodingError
from spectui.decoding.processes import python, start
from spectui.decoding.worker.launch import MODEL_PROCESS
from spectui.prompts import Prompt
from spectui.prompts.chat import to_json
from spectui.servers.audit.outputs import Choice, Output, Token
from spectui.servers.audit.verdict import Compared, Parting, shown

MODULE = "spectui.decoding.reference"


def judge(
    prompts: Sequence[Prompt],
    outputs: Sequence[Output],
    config: Mapping[str, Any],
    tell: Callable[[str], None] = lambda dtype: None,
) -> Iterator[Compared]:
    """Each output judged at every token by the target of `config`, fields of `RunConfig`; `tell` gets its data type.

    Raises `DecodingError` where the target cannot be loaded, or its process ends.
    """
    questions = [_question(prompt, output) for prompt, output in zip(prompts, outputs, strict=True)]
    command = python("-m", MODULE)
    pipe = subprocess.PIPE
    with start(command, defaults=MODEL_PROCESS, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # a process that is gone answers nothing, see below
                child.stdin.write(json.dumps({"config": dict(config), "questions": questions}))
            with suppress(BrokenPipeError):
                child.stdin.close()
            tell(str(_answer(child.stdout.readline())["dtype"]))
            for prompt, output in zip(prompts, outputs, strict=True):
                yield _compared(prompt, output, _answer(child.stdout.readline()))
        finally:
            if child.poll() is None:
                child.terminate()


def _question(prompt: Prompt, output: Output) -> dict[str, Any]:
    return {
        "text": prompt.text,
        "messages": None if prompt.messages is None else to_json(prompt.messages),
        "tokens": [_named(each) for each in output.spoken],
        "rivals": [None if each.rival is None else _named(each.rival) for each in output.spoken],
        "ended": output.ended,
    }


def _named(token: Token | Choice) -> int | str:
    """Its id, or its bytes in hexadecimal digits where the server does not tell that."""
    return token.piece.hex() if token.id is None else token.id


def _answer(line: str) -> dict[str, Any]:
    """A line of the process. Raises `DecodingError` for its fatal error, and for its end."""
    if not line.endswith("\n"):
        raise DecodingError("the process with the target ended before its work was done; its words are above")
    answer: dict[str, Any] = json.loads(line)
    if "fatal" in answer:
        raise DecodingError(str(answer["fatal"]))
    return answer


def _compared(prompt: Prompt, output: Output, answer: Mapping[str, Any]) -> Compared:
    count = len(output.tokens)
    if output.failure:
        return Compared(prompt.id, prompt.task, 0, failure=output.failure)
    if "error" in answer:
        return Compared(prompt.id, prompt.task, count, failure=str(answer["error"]))
    if output.prompt_tokens is not None and output.prompt_tokens != answer["prompt_tokens"]:
        return Compared(
            prompt.id, prompt.task, count,
            failure=f"the prompt has {output.prompt_tokens} tokens there and {answer['prompt_tokens']} here: the server"
            " has another chat template, or another model",
        )  # fmt: skip
    end = Token(None, b"", is_end=True)
    partings = tuple(
        Parting(
            each["place"],
            shown([*output.spoken, end][each["place"]]),
            repr(each["choice"]),
            each["margin"],
        )
        for each in answer["others"]
    )
    gaps = zip(output.spoken, answer["gaps"], strict=True)
    differences = tuple(
        there - gap
        for token, gap in gaps
        if gap is not None and token.rival is not None and (there := token.gap_to(token.rival)) is not None
    )
    return Compared(prompt.id, prompt.task, count, partings, differences)
