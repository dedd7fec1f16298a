"""Guidance: denoisers that push a conditional prediction away from another one.

Classifier-free, on an interval of levels, perpendicular negatives, CFG++, projected, autoguidance,
by a classifier, and those of diffusers.
"""
