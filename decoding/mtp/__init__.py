"""Multi-token-prediction modules, which targets bring in their own files."""
