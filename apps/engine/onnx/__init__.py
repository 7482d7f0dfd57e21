"""The engine ``onnx``: embeddings, rerankers and classifiers by onnxruntime, and how a model becomes ONNX (``export``)."""
