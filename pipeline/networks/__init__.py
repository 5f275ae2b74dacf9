"""Networks as files: trained weights, scores of frames, Caffe in, ONNX out."""
