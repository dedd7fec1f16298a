"""Segmentation: EmerDiff, k-means and normalised cuts on features; metrics and drawing."""
