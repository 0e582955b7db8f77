"""What the service's image asks itself: ready or not, by HTTPS when that is what the service speaks."""

import os
import ssl
import urllib.request

is_tls = "DINRANK_TLS_CERTIFICATE" in os.environ
address = f"{'https' if is_tls else 'http'}://127.0.0.1:{os.environ['DINRANK_PORT']}/readyz"
# Whose certificate it is does not matter here: it is the process next door, and 127.0.0.1 is not its name.
context = ssl._create_unverified_context() if is_tls else None
urllib.request.urlopen(address, timeout=2, context=context)
