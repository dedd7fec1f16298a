"""Commands that collect demonstrations, and train, evaluate and export policies."""
