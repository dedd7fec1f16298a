"""The `scorefield` command: one thin command per capability."""
