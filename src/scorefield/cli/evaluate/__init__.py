"""Commands that make and score many things at once.

Lists of prompts, made and judged (judging): `text_to_3d`, `text_to_svg`; published data sets
(data_sets): `classifier`, `correspondence`, `segmentation`; and `prior`, of the procedural world.
"""
