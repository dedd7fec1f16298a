"""An SVG file's text to values: XML, CSS, lengths, colours, transforms, paints and outlines."""
