"""Environments, their experts, and the collection of demonstrations."""
