"""What a trained model is; imported by training and serving, fits nothing.

* `spec`, `specs`        what each model is asked and answers, and its answer without a model
* `bundle`               the artefact: graph, manifest, golden rows; written, verified, read
* `runtime`              the one door to onnxruntime
* `report`               what was measured on the exported bundle
* `registry`             versions and the champion on disk, as serving reads them
* `mlflow_registry`      the one door to MLflow: runs, versions, aliases
"""
