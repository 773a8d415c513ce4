"""One run of a session on replicas: they are started and compared, the session is described, prompts are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import psutil

from spectui.decoding.config import AUTO, CHAIN_BESIDE, RunConfig, kept_from
from spectui.decoding.models.fingerprint import Basis
from spectui.decoding.replicas.devices import check_config, check_ray, local_devices, read_count, threads_each
from spectui.decoding.replicas.dispatch import Dispatcher
from spectui.decoding.replicas.members import Member
from spectui.decoding.replicas.messages import Loaded
from spectui.decoding.replicas.pipes import Pipes
from spectui.decoding.replicas.transport import Transport
from spectui.decoding.worker.control import Control, Limits
from spectui.decoding.worker.resuming import go_on
from spectui.store.rows import SessionSummary
from spectui.store.writing.writer import SessionWriter

RAY_SWITCH = "SPECTUI_RAY"
"""Environment variable; 0 starts replicas of this machine without Ray, though it is installed."""


class ReplicaRun:
    """A claimed session that is decoded by replicas; `decode_prompts` decodes the prompts that are pending."""

    def __init__(
        self,
        writer: SessionWriter,
        control: Control,
        progress: Callable[[str, float | None, float | None, str], None],
        before: SessionSummary,
        files: dict[str, dict[str, str]],
        *,
        replicas: str,
        address: str,
        force: bool,
    ) -> None:
        self._writer, self._control, self._progress = writer, control, progress
        self._before, self._files, self._force = before, files, force
        self._config = RunConfig.from_dict(before.config)
        check_config(self._config)
        self._count, self._address = read_count(replicas), address
        self._dispatcher: Dispatcher | None = None
        self._process = psutil.Process()
        """Its share of a core is that since the last time it was asked."""

    @property
    def config_json(self) -> str:
        """See `Chosen`."""
        return self._config.to_json()

    @property
    def chooses_tree(self) -> bool:
        """See `Chosen`."""
        return self._config.chooses_tree and self._config.speculate

    def decode_prompts(self) -> None:
        """Decode every pending prompt. Raises `Stopped` when the run is to end before that, `DecodingError` where no
        replica can be had or is left."""
        self._control.breaks_off = (
            False  # answers are waited for in small steps; nothing has to be broken off
        )
        self._progress("starting replicas", None, None, "")
        transport = self._transport()
        # Ray takes signals for itself.
        self._control.hear_signals()
        count = len(transport.devices)
        self._dispatcher = dispatcher = Dispatcher(
            self._writer,
            self._control,
            Limits(self._config, self._control.idle.seconds),
            transport,
            self,
            count,
            self._progress,
        )
        self._writer.usage = self._usage
        try:
            dispatcher.decode()
        finally:
            self._writer.usage = None
            try:
                dispatcher.close()
            finally:
                transport.close()

    def _transport(self) -> Transport:
        """Ray for a cluster, and on this machine where it is installed; else processes with pipes."""
        if self._address:
            check_ray(self._address)
            from spectui.decoding.replicas.ray_engine import join_cluster

            return join_cluster(self._address, self._config, self._count)
        to_go = self._before.prompt_count - self._before.prompts_done
        # One that would never have a prompt takes memory, and the first ones' cores while it loads.
        devices = local_devices(self._config, self._count)[: max(to_go, 1)]
        environment = {} if devices[0] else threads_each(len(devices))
        if find_spec("ray") is None or os.environ.get(RAY_SWITCH) == "0":
            return Pipes(devices, environment)
        from spectui.decoding.replicas.ray_engine import start_here

        return start_here(devices, environment)

    # What the dispatcher asks for, see `Chosen`.

    def begin(self, member: Member, loaded: Loaded) -> bool:
        """See `Chosen`."""
        before = self._before
        if before.started_at is not None:
            then = Basis(before.versions, before.device, self._files)
            go_on(self._writer, before, then, loaded.basis, force=self._force)
        several = before.rounds > 0 and before.tree.partition(CHAIN_BESIDE)[0] == AUTO
        self._config = RunConfig.from_json(loaded.config_json)
        self._writer.describe(
            config_json=self._config.to_json(),
            tree=before.tree if several else self._config.tree_spec,
            device=loaded.basis.device,
            drafter=loaded.drafter,
            tokenizer_id=loaded.tokenizer_id,
            versions=loaded.basis.versions,
            model_files=loaded.basis.files,
            costs_json=loaded.costs_json,
        )
        sharing = 0 if self._dispatcher is None or self._address else len(self._dispatcher.members)
        if sharing > 1 and loaded.basis.device == "cpu":
            self._writer.add_event(
                "replicas",
                f"{sharing} replicas share the cores of this machine: times are those of a machine at work",
            )
        if loaded.forgets:
            self._writer.add_event(
                "replicas",
                f"{loaded.drafter} drafts by earlier prompts in a plain run; here it begins each prompt without them, "
                "so that no round depends on which replica had which prompt",
            )
        self._tokenizer_id = loaded.tokenizer_id
        return self._writer.tokens_known(loaded.tokenizer_id) < loaded.vocabulary

    def keep_after(self) -> None:
        """See `Chosen`."""
        self._writer.prune(kept_from(self._config.keep_nodes))

    def add_tokens(self, tokens: dict[int, bytes]) -> None:
        """See `Chosen`."""
        self._writer.add_tokens(self._tokenizer_id, tokens)

    def _usage(self) -> tuple[float | None, int | None, dict[str, Any] | None, tuple[float, float] | None]:
        """The usage of this process and all replicas; energy only of one class of devices."""
        members = [] if self._dispatcher is None else list(self._dispatcher.members)
        pulses = [(each, each.pulse) for each in members if each.pulse is not None]
        process = self._process
        cpu = process.cpu_percent() + sum(pulse.cpu_percent or 0.0 for _, pulse in pulses)
        rss = process.memory_info().rss + sum(pulse.rss_bytes or 0 for _, pulse in pulses)
        gpus = [
            {**gpu, "index": place, "host": member.facts.host if member.facts else ""}
            for place, (member, gpu) in enumerate(
                (member, gpu) for member, pulse in pulses for gpu in (pulse.gpu or {}).get("gpus", ())
            )
        ]
        return cpu, rss, {"gpus": gpus} if gpus else None, energy_of(members)


def energy_of(members: list[Member]) -> tuple[float, float] | None:
    """Joules and seconds of all replicas; None where they are of several classes, or one of them does not know.

    The counters of a CPU are those of the whole machine, so that one replica of each machine stands for its machine.
    Seconds are of all, as the decoding time of the session is.
    """
    measuring = [
        (each, each.pulse.energy) for each in members if each.loaded is not None and each.pulse is not None
    ]
    if len({each.loaded.machine for each, _ in measuring if each.loaded}) != 1:
        return None
    counted = {each.meter: energy for each, energy in reversed(measuring)}
    joules = [energy[0] for energy in counted.values() if energy is not None]
    if len(joules) < len(counted):
        return None
    return sum(joules), sum(energy[1] for _, energy in measuring if energy is not None)
