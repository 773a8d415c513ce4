"""The question whether a server decodes as its target alone would: asked, compared, judged."""
