"""Networks written for programs that have no lstm97: as a C file, as an ONNX model."""
