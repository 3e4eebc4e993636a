"""The final model: an estimator, its files, and ONNX."""
