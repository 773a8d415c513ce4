"""One run of a session: its models are loaded and its tree is chosen, then its prompts are decoded."""

from __future__ import annotations

import contextlib

from spectui.decoding.config import AUTO, CHAIN_BESIDE, RunConfig, kept_from
from spectui.decoding.machine.energy import decoding_now
from spectui.decoding.machine.versions import run_versions
from spectui.decoding.models.fingerprint import Basis, model_files
from spectui.decoding.models.load import LoadedModels, Progress, load_models
from spectui.decoding.tokens.chat import unused_switches
from spectui.decoding.trees.costs import Costs, to_json
from spectui.decoding.worker.baseline import Baselines, baselines_of
from spectui.decoding.worker.choose_tree import known_costs, with_tree
from spectui.decoding.worker.control import Control, Skipped, Stopped
from spectui.decoding.worker.measure_costs import device_class
from spectui.decoding.worker.prompt_runner import PromptRunner
from spectui.decoding.worker.resuming import go_on
from spectui.decoding.worker.tree_plan import plan_of_run
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import PendingGeneration, SessionWriter


class SessionRun:
    """A claimed session with its models loaded; `decode_prompts` decodes the prompts that are pending.

    `before` and `files` are the session and its model files as they were recorded before.
    Raises `Refused` where it was begun with other models or versions, unless `force`, and `DecodingError` where
    the models cannot be loaded.
    """

    def __init__(
        self,
        writer: SessionWriter,
        control: Control,
        progress: Progress,
        before: SessionSummary,
        files: dict[str, dict[str, str]],
        *,
        force: bool,
    ) -> None:
        self._writer = writer
        self._control = control
        self._progress = progress
        config = RunConfig.from_dict(before.config)
        models = load_models(config, progress)
        for kind, text in model_notes(config, models):
            writer.add_event(kind, text)
        basis = Basis(run_versions(), str(models.target.device), model_files(config))
        if before.started_at is not None:
            go_on(writer, before, Basis(before.versions, before.device, files), basis, force=force)
        # One tree for the whole session: acceptance by depth and task can only be compared on the same one.
        self._config = with_tree(config, models, progress)
        if config.shard and config.chooses_tree:
            writer.add_event(
                "tree", f"{self._config.tree_spec}, the drafter's default, which every shard takes"
            )
        # With a plan each task has its own; rounds say which.
        costs = known_costs(self._config, models)
        plan = plan_of_run(self._config, models, writer)
        self._runner = PromptRunner(writer, control, self._config, models, plan)
        if self._config.independent and self._runner.decoder.forget_prompts():
            writer.add_event(
                "draft", f"{self._config.base_draft} forgets each prompt after it, as prompts run apart"
            )
        for note in self._runner.decoder.settings.notes:
            writer.add_event("settings", note)
        # Earlier versions chose a session's trees while it ran, and its rounds have several.
        several = before.rounds > 0 and before.tree.partition(CHAIN_BESIDE)[0] == AUTO
        self._describe(models, basis, costs, before.tree if several else self._config.tree_spec)

    def decode_prompts(self) -> None:
        """Decode every pending prompt. Raises `Stopped` when the run is to end before that."""
        writer, runner = self._writer, self._runner
        self._control.note_standstills(writer, "while loading")
        pending = writer.pending_generations()
        with contextlib.suppress(Skipped):
            self._control.check(writer)
        runner.baselines = baselines = baselines_of(lambda: runner.decoder, writer)
        between_prompts = not runner.decoder.rounds.interruptible  # else its buffers are in use
        if pending and between_prompts:
            self._progress("measuring plain decoding", None, None, "")
            baselines.take(pending[0].prompt_text)
        self._progress("decoding", None, None, "")
        writer.set_status("running")
        decoding_now.set()
        try:
            for generation in pending:
                self._decode(generation, baselines if between_prompts else None)
        except Stopped:
            baselines.finish()
            raise
        baselines.finish()

    def _decode(self, generation: PendingGeneration, baselines: Baselines | None) -> None:
        """Decode one prompt, unless it is to be skipped; plain decoding is measured before it where `baselines` are
        due."""
        writer, runner = self._writer, self._runner
        try:
            runner.check()
        except Skipped:
            writer.finish_generation(generation.id, "skipped", finish_reason="skipped")
        else:
            if baselines is not None and baselines.due:
                baselines.take(generation.prompt_text)
            runner.run(generation)
        writer.prune(kept_from(self._config.keep_nodes))

    def _describe(self, models: LoadedModels, basis: Basis, costs: Costs | None, tree: str) -> None:
        """Record the models, versions, tree and costs of the run."""
        self._writer.describe(
            config_json=self._config.to_json(),
            tree=tree,
            device=basis.device,
            drafter=self._runner.decoder.drafter.name,
            tokenizer_id=models.tokenizer.identity,
            versions=basis.versions,
            model_files=basis.files,
            costs_json=None if costs is None else to_json(costs),
            machine_json=device_class(self._config, models).to_json(),
        )


def model_notes(config: RunConfig, models: LoadedModels) -> list[tuple[str, str]]:
    """Kind and text of the events that tell the limits of the models."""
    unused = unused_switches(models.tokenizer.tokenizer, config.template_args)
    switches = [f"no chat template here mentions '{name}', so that it changes nothing" for name in unused]
    return [*(("draft", note) for note in models.notes), *(("template", note) for note in switches)]
