"""Score fields: schedules, denoisers, guidance, samplers and the priors that ship."""
