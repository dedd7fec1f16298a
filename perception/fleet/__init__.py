"""Images by the million: parts of a data set, workers that hold a prior, files of results.

`parts` divides a folder, shards or tables into parts of some images each; `part_files` keeps what
is found of a part in a Parquet file of its own, whole or not at all; `engines` goes through the
parts in this process or with workers of Ray.
"""
