"""Training of policies, on one process or several.

`train` has the job, `distributed` the processes that share it; `held_out` judges episodes that are
not learnt from, `tracking` says where metrics go to as well.
"""
