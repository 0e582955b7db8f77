"""The contract between trainer and service: what a bundle holds and how raw values become indices.

Nothing here imports torch, onnxruntime, FastAPI or redis; both sides call the same functions.
"""
