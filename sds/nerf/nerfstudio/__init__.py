"""nerfstudio, both ways: its fields and trainer for this library, and scenes for its tools.

`conventions` and `dataset` do without nerfstudio: cameras in its convention, and a run's views as a
data set with a `transforms.json`.
"""
