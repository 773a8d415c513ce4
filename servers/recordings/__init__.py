"""Files that our recorder inside a vLLM wrote of its requests: read, joined, and recorded as sessions."""
