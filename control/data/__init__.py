"""Demonstrations: episodes, windows of them, spaces, normalizers and readers of other formats."""
