"""TFLite flatbuffers written directly from ONNX graphs, without TensorFlow."""
