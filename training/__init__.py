"""Labels, fitting, measuring, exporting.

* `labels`       what happened after a moment: engagement, silence, the choice among candidates
* `dataset`      labels and point-in-time inputs, joined by Feast, with a fingerprint
* `splits`       by time with an embargo, by recipient
* `metrics`      losses, ranks and calibration, with intervals over recipients
* `calibration`, `bgnbd`, `rhythm`   small models; `silence` is BG/NBD as a churn model and graph
* `trees`, `graphs`, `export`        estimators to ONNX, parity proven, into a bundle
* `recipes`      one file per model: how it is labelled, fitted, measured
"""
