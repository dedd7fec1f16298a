"""An SVG file's text to values: XML, CSS, lengths, colours, transforms, paints and outlines.

`reader` goes through the elements: the XML that is not trusted (markup, source), the cascade (css,
style, properties), values and viewports, then outlines (shapes, markers) and paints (colour,
gradients, effects). What is not drawn is kept as text, or named (kept, left_out).
"""
