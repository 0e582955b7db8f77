"""The offline trainer."""

import os

# Disables ONNX Runtime's telemetry; must be set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
