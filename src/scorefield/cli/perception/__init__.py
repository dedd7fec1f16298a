"""Commands that say what an image shows."""
