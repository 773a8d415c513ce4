"""Text to tokens and back: chat templates, lengths, spelling and the tokenizer."""
