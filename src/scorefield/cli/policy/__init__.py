"""Commands that collect demonstrations, and train, evaluate and export policies.

`collect`, `inspect`, `train`, `evaluate` and `export`, a module each; `demonstrations` and
`environments` are how they find what they are given.
"""
