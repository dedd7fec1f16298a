"""Commands that make, edit and invert images and videos."""
