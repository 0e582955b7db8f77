"""Scoring: from a request and stored features to a ranking."""

import os

# The ONNX Runtime wheels send usage data to their vendor unless this is set before the first import of the library.
# Python runs this file before `predictor` imports it. An operator's own value wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
