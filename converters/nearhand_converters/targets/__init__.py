"""Artifacts written from the intermediate ONNX graph, one module for each target."""
