"""Commands that say what an image shows.

`classify`, `rank`, `segment`, `match`, `features` and `energy`, a module each; `image_results` is
the loop over images, resumed from a file of rows.
"""
