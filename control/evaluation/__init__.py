"""Rollouts of policies in environments, their scores with intervals, and drawings of paths.

`rollout` lets a policy act in many environments side by side, `scores` gives the figures of it, and
`drawing` images and videos.
"""
