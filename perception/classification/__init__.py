"""Zero-shot classification: paired noise-prediction errors, stopping rules, ranking.

`classify` asks which label makes an image most likely, by errors under the same noise
(paired_errors, measured by error_measure), until a rule of `stopping` is sure. `rejection` says
whether any label fits, `calibration` how sure to be, `text_scores` ranks images by a text.
"""
