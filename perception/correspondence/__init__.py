"""Correspondence by diffusion features (DIFT): features, matching, propagation, drawing.

`dift` computes the features, `matching` finds points of one image in another (nearest, matches),
`sift` fuses them with SIFT, `propagation` carries labels along. `metrics` and `drawing` judge and
show the matches.
"""
