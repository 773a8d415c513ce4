"""Figures of the draft model, as it drafts (model runner V1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectui.recorder.figures import ENTROPY, Later, P, figures, is_capturing, on_device
from spectui.recorder.rows import Drafted
from spectui.recorder.sink import Sink

if TYPE_CHECKING:
    import torch

    from spectui.recorder.vllm.verdicts import Rank


class LastDrafts:
    """The latest drafts of a batch, on their way to the host: [steps, token, p and entropy, request]."""

    def __init__(self, requests: list[str], steps: Later, *, entropy: bool) -> None:
        self._requests, self._steps, self._entropy = requests, steps, entropy

    def get(self) -> dict[str, Drafted]:
        """Request -> what was drafted for it; waits for the device."""
        (steps,) = self._steps.get()
        return {
            request: Drafted(
                [int(step[0][place]) for step in steps],
                [step[1][place] for step in steps],
                [step[2][place] for step in steps] if self._entropy else None,
            )
            for place, request in enumerate(self._requests)
        }


class Drafts:
    """Sees the logits that a proposer computes anyway, for the requests of the batch that are recorded."""

    def __init__(self, sink: Sink, rank: Rank) -> None:
        self._sink, self._rank = sink, rank
        self._part = sink.part("draft")
        self._entropy = sink.settings.entropy
        self._steps: list[torch.Tensor] = []
        self._chosen: list[int] = []
        """Places in the batch."""
        self._batch = 0
        """Requests in the batch that is being drafted for; 0 while none is."""
        self._last: LastDrafts | None = None

    def change(self, module: Any) -> None:
        """Wrap the proposer's method that chooses a draft from its logits."""
        self._part.attempt(self._wrap_proposer, module)

    def wrap_runner(self, runner: type) -> None:
        """Wrap the runner's method that asks the proposer."""
        self._part.attempt(self._wrap_runner, runner)

    def take(self) -> LastDrafts | None:
        """The latest drafts, once."""
        last, self._last = self._last, None
        return last

    def _wrap_proposer(self, module: Any) -> None:
        self._part.wrap(
            module.SpecDecodeBaseProposer,
            "_sample_draft_tokens",
            ("self", "hidden_states", "sampling_metadata"),
            before=self._before_choice,
            after=self._after_choice,
            meter="draft",
        )

    def _wrap_runner(self, runner: type) -> None:
        self._part.wrap(
            runner,
            "propose_draft_token_ids",
            ("self", "scheduler_output", "sampled_token_ids"),
            before=self._before_batch,
            after=self._after_batch,
            meter="draft hand-over",
        )

    def _before_batch(self, runner: Any, *args: object, **kwargs: object) -> list[str] | None:
        self._steps, self._last, self._batch = [], None, 0
        if not self._rank.records(runner.device):
            return None
        requests = list(runner.input_batch.req_ids)
        chooses = self._sink.settings.chooses
        self._chosen = [place for place, request in enumerate(requests) if chooses(request)]
        self._batch = len(requests) if self._chosen else 0
        return [requests[place] for place in self._chosen] or None

    def _after_batch(self, requests: list[str], *args: object, **kwargs: object) -> None:
        import torch

        steps, self._steps, self._batch = self._steps, [], 0
        if steps:
            self._last = LastDrafts(requests, Later(torch.cat(steps)), entropy=self._entropy)

    def _before_choice(self, proposer: Any, *args: object, **kwargs: object) -> list[torch.Tensor] | None:
        """A list that gets the logits."""
        if (
            not self._batch
            or getattr(proposer, "use_local_argmax_reduction", False)  # computes no logits
            or getattr(proposer, "use_heterogeneous_vocab", False)  # logits of other tokens
        ):
            return None
        seen: list[torch.Tensor] = []
        model = proposer.model
        compute = model.compute_logits

        def compute_logits(*args: Any, **kwargs: Any) -> Any:
            model.__dict__.pop("compute_logits", None)
            logits = compute(*args, **kwargs)
            seen.append(logits)
            return logits

        # An attribute of this object stands before the method of its class, and takes itself away when called.
        model.__dict__["compute_logits"] = compute_logits
        return seen

    def _after_choice(
        self, seen: list[torch.Tensor], chosen: Any, proposer: Any, *args: object, **kwargs: object
    ) -> None:
        import torch

        proposer.model.__dict__.pop("compute_logits", None)
        if not seen or seen[0] is None or is_capturing(seen[0]):
            return
        logits, tokens = seen[0], chosen[0].reshape(-1)
        # Drafts of one request stand together where all are drafted at once.
        depth, rest = divmod(logits.shape[0], self._batch)
        if rest or tokens.shape[0] != logits.shape[0]:
            return
        places = torch.arange(logits.shape[0], device=logits.device).view(self._batch, depth)
        if len(self._chosen) < self._batch:
            places = places[on_device(self._chosen, logits.device)]
        rows = places.T.reshape(-1)
        tokens = tokens[rows]
        of_rows = figures(logits, rows, tokens, entropy=self._entropy)
        columns = [tokens.float(), of_rows[P], *([of_rows[ENTROPY]] if self._entropy else [])]
        step = torch.stack(columns).view(len(columns), depth, len(self._chosen))
        self._steps.append(step.permute(1, 0, 2))
