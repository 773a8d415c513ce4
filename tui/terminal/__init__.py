"""The terminal: glyphs, colours, cell widths, safe text and plain output."""
