"""`scorefield sweep`: many runs of one command, as tasks of Ray.

`plan` reads the runs from a file, `fleet` does them, `table` shows how they get on; `command` is
the command.
"""
