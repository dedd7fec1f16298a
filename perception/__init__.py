"""Perception by a frozen prior: correspondence, segmentation, zero-shot classification."""
