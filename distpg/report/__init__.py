"""Reporting during training: progress display, TensorBoard, timing and fault counters."""
