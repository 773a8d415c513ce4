"""The recorder's parts inside vLLM, checked against 0.32 and 0.33. All they wrap may change there: see `Part.wrap`."""
