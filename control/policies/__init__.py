"""Policies: diffusion policies and their rivals, samplers, action chunk continuation, export."""
