"""The recipe that trains the embedded priors."""
