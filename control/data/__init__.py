"""Demonstrations: episodes, windows of them, spaces, normalizers and readers of other formats.

`Episodes` (episodes) keeps demonstrations in memory or in a folder (episode_files), one `Episode`
at a time; `formats` reads those of other people and `inspection` says what is odd about them.
`Windows` (windows) is what a policy is trained on, between the bounds and horizons of `spaces`,
scaled by a `normalizer` whose density `spacing` measures; `tasks` are texts told in the state.
"""
