"""The recorder inside SGLang, after the source of 0.5.23. No server has run it: tests call it as that source does."""


def register() -> None:
    """SGLang's entry point (`sglang.srt.plugins`), called in its scheduler's processes; inert without a folder."""
    import os

    if os.environ.get("SPECTUI_SGLANG_DIR"):
        from spectui.recorder.sglang.install import install

        install()
