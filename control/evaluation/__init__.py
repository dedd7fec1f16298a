"""Rollouts of policies in environments, their scores with intervals, and drawings of paths."""
