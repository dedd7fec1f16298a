"""Segmentation: EmerDiff, k-means and normalised cuts on features; metrics and drawing.

`segment` is the way in; its methods are clusters of features (clustering) and `emerdiff`, which
hooks into attention (attention_hooks) within a bound of memory; `presets` says where to tap each
family.
"""
