"""Health check of the service's image: asks /readyz, by HTTPS if the service uses TLS."""

import os
import ssl
import urllib.request

is_tls = "DINRANK_TLS_CERTIFICATE" in os.environ
address = f"{'https' if is_tls else 'http'}://127.0.0.1:{os.environ['DINRANK_PORT']}/readyz"
# The certificate is not verified: this is the local process, and 127.0.0.1 is not in its name.
context = ssl._create_unverified_context() if is_tls else None
urllib.request.urlopen(address, timeout=2, context=context)
