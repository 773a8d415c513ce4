"""A recorder that runs inside a server and writes what its speculative decoding does.

Standard library alone, and nothing else of spectui: `pip install --no-deps spectui` into the server's environment is
enough. It does nothing unless the server is started with ``SPECTUI_VLLM_DIR``. docs/reference/recorder.md describes
the files.
"""


def register() -> None:
    """vLLM's entry point (`vllm.general_plugins`), called in each of its processes."""
    import os

    if os.environ.get("SPECTUI_VLLM_DIR"):
        from spectui.recorder.vllm.install import install

        install()
