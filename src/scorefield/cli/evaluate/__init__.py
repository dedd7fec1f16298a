"""Commands that make and score many things at once."""
