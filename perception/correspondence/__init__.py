"""Correspondence by diffusion features (DIFT): features, matching, propagation, drawing."""
