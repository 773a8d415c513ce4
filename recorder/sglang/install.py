"""Hooks in SGLang's registry, which puts them in place when its modules are loaded."""

from __future__ import annotations

import logging
from typing import Any

from spectui.recorder.settings import SettingsError, from_environment
from spectui.recorder.sglang.batches import Batches
from spectui.recorder.sglang.trees import Trees
from spectui.recorder.sink import Sink

PROCESSOR = "sglang.srt.managers.scheduler_components.batch_result_processor.SchedulerBatchResultProcessor"
SAMPLE = "sglang.srt.speculative.eagle_utils.eagle_sample"

_tried: list[bool] = []


def install() -> None:
    """Register what is to be recorded, once a process. Raises nothing."""
    log = logging.getLogger("sglang.spectui")
    if _tried:
        return
    _tried.append(True)
    try:
        settings = from_environment("SPECTUI_SGLANG")
        if settings is None:
            return
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType

        sink = Sink(settings, "engine", "sglang", log)
        for target, hook in hooks(sink).items():
            HookRegistry.register(target, hook, HookType.AROUND)
    except SettingsError as error:
        log.warning("spectui records nothing: %s", error)
    except Exception:
        log.exception("spectui records nothing")


def hooks(sink: Sink) -> dict[str, Any]:
    """Function of SGLang -> what is called with it and its arguments in its place."""
    batches, trees = Batches(sink), Trees(sink)
    results = ("self", "batch", "result")
    return {
        f"{PROCESSOR}.process_batch_result_prefill": batches.part.hook(
            results, before=batches.before, after=batches.after, meter="commits (prefill)"
        ),
        f"{PROCESSOR}.process_batch_result_decode": batches.part.hook(
            results, before=batches.before, after=batches.after, meter="commits"
        ),
        SAMPLE: trees.part.hook(
            ("verify_input", "batch", "logits_output"), before=trees.before, after=trees.after, meter="target"
        ),
    }
