"""Energies, likelihoods and MCMC: what a score says about density, and how to sample by it."""
