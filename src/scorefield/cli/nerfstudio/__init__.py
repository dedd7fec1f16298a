"""Commands that exchange scenes with nerfstudio."""
