"""What a vLLM with our plugin wrote of its requests: read, joined, and recorded as sessions."""
