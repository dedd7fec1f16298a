"""Energies, likelihoods and MCMC: what a score says about density, and how to sample by it.

`line_integral` gives energies, `likelihood` and `ito` log-likelihoods, by the flow's ODE and along
noisy paths; `mcmc` and `langevin` sample by Markov chains at one level or through all.
"""
