"""Lowering: checkpoint to ONNX to TensorRT, with a check that the artifact says what the model says."""
