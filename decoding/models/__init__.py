"""Models of a run: loading, placing, sizing and identifying them."""
