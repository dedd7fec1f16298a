"""Training of policies, on one process or several."""
