"""Speculative decoding of one prompt: draft a tree, verify it in one forward pass, keep the accepted path.

    for round in SpeculativeDecoder(RunConfig()).generate("Why is the sky blue?"):
        print(round.tokens)

Knows nothing of databases or screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spectui.decoding.config import RunConfig
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.device.switch import language_model
from spectui.decoding.drafters.base import Drafter, NoDrafter, Remembers
from spectui.decoding.errors import DecodingError
from spectui.decoding.host_rounds import HostRounds
from spectui.decoding.models.generation_settings import GenerationSettings, PromptSettings
from spectui.decoding.models.load import LoadedModels, Progress, load_models, make_drafter
from spectui.decoding.phases import PREFILL, PREFILL_DRAFT, phase
from spectui.decoding.rounds import Round, Rounds, Rules
from spectui.decoding.tokens.chat import PromptInput, Tell


def draft_seed(seed: int, position: int) -> int:
    """Seed of a drafter's draws at a prompt, apart from the numbers that its tokens are judged with."""
    return int(np.random.SeedSequence([seed, position, 1]).generate_state(1)[0])


class SpeculativeDecoder:
    """Target, drafter and acceptance rule of a `RunConfig`, ready to decode prompt after prompt.

    Loads the models unless `models` brings them (raises `DecodingError` when that fails), and reports to `progress`.
    One prompt at a time: caches are reused.
    """

    def __init__(
        self, config: RunConfig, *, models: LoadedModels | None = None, progress: Progress | None = None
    ) -> None:
        self.config = config
        self.models = models or load_models(config, progress)
        self.settings = GenerationSettings(self.models.target, config, self.models.tokenizer)
        """The model's own settings, as far as they are obeyed."""
        self.prompt_settings: PromptSettings | None = None
        """Those settings on the current prompt; None where logits decide as they are."""
        self.drafter: Drafter = make_drafter(config, self.models) if config.speculate else NoDrafter()
        self.target = language_model(self.models.target, self.drafter.feature_layers)
        self.rounds = self._make_rounds(self.drafter)
        self._last_token = 0
        """The last one of the sequence so far."""

    def _make_rounds(self, drafter: Drafter) -> Rounds:
        settings = self.settings
        rules = Rules(
            greedy=self.config.greedy,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=self.config.max_new_tokens,
            end_ids=frozenset(settings.end_ids),
            not_finite=settings.not_finite,
        )
        if isinstance(self.target, BufferedModel):
            return DeviceRounds(rules, self.target, drafter)
        return HostRounds(rules, self.target, drafter)

    def encode(self, prompt: PromptInput, tell: Tell = lambda note: None) -> list[int]:
        """Token ids of `prompt`, a user's turn or a conversation, through the chat template, as text without one.

        `tell` is called with a note on each change to the prompt that the user did not ask for. Raises `DecodingError`.
        """
        return self.models.tokenizer.encode_prompt(prompt, self.config.template_args, tell)

    def generate(self, prompt: str | Sequence[int], *, position: int = 0) -> Iterator[Round]:
        """Rounds until an end token, `max_new_tokens`, or the end of the context.

        `prompt` is text (see `encode`) or token ids. `position` is mixed into the seed: samples depend on the
        configuration, the position and the prompt, and on no prompt before it. Raises
        `DecodingError` when nothing fits.
        """
        ids = self.encode(prompt) if isinstance(prompt, str) else [int(t) for t in prompt]
        if not ids:
            raise DecodingError("the prompt has no tokens; give at least one")
        self.models.tokenizer.check(ids, self.target.rows)
        if len(ids) >= self.target.context:
            raise DecodingError(
                f"the prompt has {len(ids)} tokens, but the model's context holds {self.target.context}; shorten it"
            )
        rng = np.random.default_rng([self.config.seed, position])
        self.prompt_settings = self.settings.begin(ids)
        self.rounds.reserve(len(ids) + self.config.max_new_tokens)
        with phase(PREFILL):
            scored = self.target.prefill(ids[:-1], all_logits=self.drafter.wants_prompt_logits)
        with phase(PREFILL_DRAFT):
            self.drafter.begin(ids, scored, draft_seed(self.config.seed, position))
        self.rounds.begin(self.prompt_settings)
        committed, prompt_length = list(ids), len(ids)
        while True:
            self.target.renew(committed)
            round_ = self.rounds.step(committed[-1], len(committed) - prompt_length, rng)
            self._last_token = round_.tokens[-1]
            yield round_
            if round_.finish:
                return
            if self.prompt_settings is not None:
                self.prompt_settings.commit(round_.tokens)
            committed += round_.tokens

    def forget_prompts(self) -> bool:
        """Let the drafter forget earlier prompts; returns whether it is one that remembers any."""
        parts = getattr(self.drafter, "parts", (self.drafter,))
        remembering = [part for part in parts if isinstance(part, Remembers)]
        for part in remembering:
            part.forget()
        return bool(remembering)

    def plain_round(self) -> Round:
        """A round without a draft behind the last one of `generate`, for its time; nothing of it stays.

        Only where `rounds.interruptible`, and behind a round that is not the last of its prompt.
        """
        length = self.target.length
        plain = self._make_rounds(NoDrafter())
        plain.begin(self.prompt_settings)
        try:
            return plain.step(self._last_token, 0, np.random.default_rng(0))
        finally:
            self.target.rewind(length)
