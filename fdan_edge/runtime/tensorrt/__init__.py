"""TensorRT engines: build, check, run. Imports no torch."""
