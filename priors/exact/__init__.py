"""Priors with a closed-form score: Gaussian mixtures, the standard normal, finite sets of images.

Every estimator of the library is tested against these.
"""
