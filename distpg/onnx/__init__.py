"""A policy as an ONNX file, and onnxruntime to compare it with the policy."""
