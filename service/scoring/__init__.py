"""From a request and what the store knows to a ranking."""

import os

# The ONNX Runtime wheels send usage data to their maker unless this is set before the library is first imported, and
# Python runs this file before `predictor` imports it. An operator's own value stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
