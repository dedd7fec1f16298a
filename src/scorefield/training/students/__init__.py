"""Distillation of a sampler into one to four steps, with the teacher's score as the objective.

What a student makes is noised again and shown to the teacher, and to a network that learns the
scores of just these samples; the difference of the two moves the student. Images and actions of
robots share it: all it asks for are denoisers.
"""
