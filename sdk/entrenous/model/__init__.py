"""The model at the device: its closed ONNX profile, checked before any runtime sees it, and one prebound row."""
