"""The recorder of a server on this machine, found by the process that listens at its address."""

from __future__ import annotations

from pathlib import Path

import httpx2

from spectui.servers.address import is_local

VARIABLE = "SPECTUI_VLLM_DIR"


def recorder_folder(address: str) -> Path | None:
    """The folder that the server at an address records into; None where it is elsewhere, or records nothing.

    Its environment is read for this one variable, which the system allows for processes of one's own.
    """
    import psutil

    if not is_local(address):
        return None
    url = httpx2.URL(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.pid
            if connection.laddr and connection.laddr.port == port
        }
    except (psutil.Error, OSError):
        return None
    for pid in listening:
        try:
            process = psutil.Process(pid)
            if folder := process.environ().get(VARIABLE):
                return Path(process.cwd(), folder)
        except (psutil.Error, OSError):
            continue
    return None
