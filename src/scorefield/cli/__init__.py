"""The `scorefield` command: one thin verb per capability."""
