"""The wrapping of vLLM's methods, in one of its processes."""

from __future__ import annotations

import logging

from spectui.recorder.imports import Change, on_import
from spectui.recorder.settings import SettingsError, from_environment
from spectui.recorder.sink import Sink
from spectui.recorder.vllm.drafts import Drafts
from spectui.recorder.vllm.scheduler import Commits
from spectui.recorder.vllm.verdicts import Rank, VerdictsV1, VerdictsV2

_tried: list[bool] = []


def install() -> None:
    """Wrap what is to be recorded, once a process. Raises nothing: vLLM would not start."""
    log = logging.getLogger("vllm.spectui")
    if _tried:
        return
    _tried.append(True)
    try:
        settings = from_environment("SPECTUI_VLLM")
        if settings is None:
            return
        engine, worker = Sink(settings, "engine", "vllm", log), Sink(settings, "worker", "vllm", log)
        on_import({"vllm.v1.core.sched.scheduler": Commits(engine).change})
        if not (settings.target or settings.draft or settings.ids):
            return
        rank = Rank(worker)
        drafts = Drafts(worker, rank) if settings.draft else None
        of_v1, of_v2 = VerdictsV1(worker, rank, drafts), VerdictsV2(worker, rank)
        changes: dict[str, Change] = {
            "vllm.v1.worker.gpu_model_runner": of_v1.change,
            "vllm.v1.worker.gpu.spec_decode.rejection_sampler": of_v2.change,
            "vllm.v1.worker.gpu.sample.batch_shard": of_v2.change_sharing,
        }
        if drafts:
            changes["vllm.v1.spec_decode.llm_base_proposer"] = drafts.change
        on_import(changes)
    except SettingsError as error:
        log.warning("spectui records nothing: %s", error)
    except Exception:
        log.exception("spectui records nothing")
