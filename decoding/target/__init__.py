"""The target language model: one forward over a tree of tokens, its cache and its probabilities."""
