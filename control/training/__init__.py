"""Training of policies, on one process or several.

`train` has the job; `distributed` the processes that share it, `held_out` the figures of episodes that
are not learnt from, `tracking` where figures go to as well.
"""
