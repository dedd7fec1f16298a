"""Commands that make, edit and invert images and videos.

`sample`, `compose`, `edit`, `invert` and `text_to_video`, a module each; `images` is what they
share.
"""
