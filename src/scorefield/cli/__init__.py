"""The `scorefield` command: one thin command per capability.

`main` finds a command in `commands` and turns what happened into an exit code; `command` is what
all share, `loading` what they load, `failures` what the machine refuses. The commands are thin: one
module each, in the rooms of their group.
"""
