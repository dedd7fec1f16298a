"""Training of policies, on one process or several.

`train` has the job; `held_out` judges episodes that are not learnt from, `tracking` says where
metrics go to as well.
"""
