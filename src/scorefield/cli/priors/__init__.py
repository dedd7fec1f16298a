"""Commands that describe and train priors.

`info`, `doctor`, `seal`, `distill` and the trainings (train), a module each; `description` is what
`info` says.
"""
