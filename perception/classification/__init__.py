"""Zero-shot classification: paired noise-prediction errors, stopping rules, ranking."""
