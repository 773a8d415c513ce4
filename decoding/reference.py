"""Outputs of others judged by the target here, token by token, as it would decode greedily (``spectui audit``).

Run as ``python -m spectui.decoding.reference`` it reads one JSON object from stdin and prints a JSON object a line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from spectui.decoding.imports import all_lasting

with all_lasting():
    import numpy as np
    import torch

    from spectui.decoding.config import RunConfig
    from spectui.decoding.errors import DecodingError, one_line
    from spectui.decoding.models.generation_settings import GenerationSettings
    from spectui.decoding.models.load import LoadedModels, load_models
    from spectui.decoding.target.language_model import LanguageModel
    from spectui.decoding.tokens.chat import PromptInput
    from spectui.prompts.chat import from_json

CHUNK = 64
"""Tokens judged in one forward pass."""


@dataclass(frozen=True)
class Other:
    """A token of an output that is not the target's first choice after what stands before it."""

    place: int
    """Tokens of the output before it."""
    choice: str
    """The target's own choice, as text."""
    margin: float
    """Log probability of the choice less that of the token, in nats."""
    rank: int
    """Tokens that the target finds likelier."""


@dataclass(frozen=True)
class Judged:
    """An output judged."""

    prompt_tokens: int
    tokens: int
    """Tokens judged: all, or those up to one that the target does not have."""
    others: tuple[Other, ...]
    gaps: tuple[float | None, ...]
    """Log probability of each token less that of its rival, in nats; None where it was given none."""


class Reference:
    """A target that judges outputs."""

    def __init__(self, config: RunConfig, models: LoadedModels | None = None) -> None:
        self._config = config
        self._models = models or load_models(config)
        self._settings = GenerationSettings(self._models.target, config, self._models.tokenizer)
        self._target = LanguageModel(self._models.target)

    @property
    def dtype(self) -> str:
        """The type of the target's weights."""
        return str(self._models.target.dtype).removeprefix("torch.")

    def ids(self, tokens: Iterable[int | str]) -> list[int]:
        """Ids of tokens, of which some may be given by their bytes, in hexadecimal digits, instead.

        Raises `DecodingError` for bytes that no token has.
        """
        ids = []
        for token in tokens:
            known = self.id_of(token)
            if known is None:
                raise DecodingError(
                    f"the target here has no token {bytes.fromhex(str(token))!r}: it is another model, or another"
                    " tokenizer; name the server's with --target"
                )
            ids.append(known)
        return ids

    def id_of(self, token: int | str | None) -> int | None:
        """The id of a token that is given by it, or by its bytes in hexadecimal digits; None for none."""
        return self._by_bytes.get(bytes.fromhex(token)) if isinstance(token, str) else token

    @cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        vocabulary = self._models.tokenizer
        # Of tokens with the same bytes the first, and one without a meaning of its own before one that has it.
        last_first = sorted(
            vocabulary.tokens.values(), key=lambda i: (i in vocabulary.special, i), reverse=True
        )
        return {vocabulary.token_bytes(i): i for i in last_first}

    @torch.inference_mode()
    def judge(
        self,
        asked: PromptInput,
        tokens: Sequence[int],
        *,
        ended: bool,
        rivals: Sequence[int | None] = (),
    ) -> Judged:
        """Judge an output to a prompt; with `ended` an end token stands behind it. Raises `DecodingError`.

        `rivals` are tokens that each was nearly, to tell how far apart the target and whoever gave them compute.
        """
        vocabulary, target = self._models.tokenizer, self._target
        prompt = vocabulary.encode_prompt(asked, self._config.template_args)
        vocabulary.check([*tokens, *(rival for rival in rivals if rival is not None)], target.rows)
        if len(prompt) + len(tokens) >= target.context:
            raise DecodingError(
                f"prompt and output have {len(prompt) + len(tokens)} tokens, and the context of the target here holds"
                f" {target.context}"
            )
        settings = self._settings.begin(prompt)
        target.reset()
        target.prefill(prompt[:-1])
        root, others, gaps = prompt[-1], list[Other](), list[float | None]()
        of_token = dict(enumerate(rivals))
        # The row behind the last token judges the end.
        for at in range(0, len(tokens) + 1, CHUNK):
            part = list(tokens[at : at + CHUNK])
            rows = np.arange(len(part) + 1)
            scored = target.append(np.array([root, *part]), rows, np.tri(len(rows), dtype=np.bool_))
            logits = scored.logits
            assert logits is not None
            if settings is not None:
                logits = settings.processed(np.array(part, dtype=np.int64), rows[:-1] - 1, logits)
                settings.commit(part)
            log_p = torch.log_softmax(logits, dim=-1)
            for row, token in enumerate(part):
                rival = of_token.get(at + row)
                gaps.append(None if rival is None else float(log_p[row, token] - log_p[row, rival]))
                others += self._other(at + row, log_p[row], [token])
            if at + len(part) == len(tokens):
                others += self._other(len(tokens), log_p[len(part)], self._ends) if ended else []
                break
            target.keep(range(len(part)))
            root = part[-1]
        return Judged(len(prompt), len(tokens), tuple(others), tuple(gaps))

    @property
    def _ends(self) -> list[int]:
        return sorted(self._settings.end_ids)

    def _other(self, place: int, log_p: torch.Tensor, tokens: Sequence[int]) -> list[Other]:
        """The note on a token, the likeliest of `tokens`, where none of them is the target's first choice."""
        best = int(log_p.argmax())
        if best in tokens:
            return []
        log_p_of_token = max((float(log_p[token]) for token in tokens), default=-math.inf)
        text = self._models.tokenizer.token_bytes(best).decode("utf-8", "replace")
        return [Other(place, text, float(log_p[best]) - log_p_of_token, int((log_p > log_p_of_token).sum()))]


def judge_all(work: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers to one object of `spectui audit`: first the model, then an object for each output."""
    config = RunConfig(speculate=False, **work["config"])
    reference = Reference(config)
    yield {"dtype": reference.dtype}
    for question in work["questions"]:
        asked = question["text"] if question["messages"] is None else from_json(question["messages"])
        try:
            ids = reference.ids(question["tokens"])
            rivals = [reference.id_of(rival) for rival in question["rivals"]]
            yield asdict(reference.judge(asked, ids, ended=question["ended"], rivals=rivals))
        except DecodingError as error:
            yield {"error": str(error)}


def main() -> int:
    """Entry point of ``python -m spectui.decoding.reference``."""
    try:
        for answer in judge_all(json.load(sys.stdin)):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    except DecodingError as error:
        sys.stdout.write(json.dumps({"fatal": one_line(error)}) + "\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
