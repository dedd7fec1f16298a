"""Commands that say what an image shows.

`classify`, `rank`, `segment`, `match`, `features` and `energy`, a module each; `picture_results` is
the loop over pictures, resumed from a file of rows.
"""
