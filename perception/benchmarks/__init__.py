"""Published benchmarks in folders of one's own: their layouts, their protocols, their reports.

The modules `*_images` and `keypoint_pairs` read the layouts, which `layouts` checks;
`*_evaluation` follow the protocols, item by item, resumably; `report` writes the page with
published figures.
"""
