"""Commands that describe and train priors."""
