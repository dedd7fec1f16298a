"""Products of experts: denoisers multiplied, divided and raised to powers.

Weights over levels, checks that a product has a density, Feynman-Kac correction, SuperDiff and the
Video Adapter.
"""
