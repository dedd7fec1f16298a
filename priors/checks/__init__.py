"""What a prior is asked before it is trusted: `check_prior`.

`conformance` has the laws that every denoiser keeps, `readings` tells what a network predicts from
how it is read, and `subject` finds the networks inside of what is checked.
"""
