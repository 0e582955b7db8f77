"""Preloaded imports of a worker: loaded once, in the fork server, and shared by all workers.

The fork server imports this module before the first worker; see `dinrank.service.process.supervisor`.
"""

import gc

import uvicorn.lifespan.on
import uvicorn.loops.auto
import uvicorn.protocols.http.auto  # noqa: F401  to be loaded is all that is wanted of these

import dinrank.service.app
import dinrank.service.cli  # noqa: F401

gc.collect()
gc.freeze()  # otherwise a collection in a worker would write to every object and so unshare its pages
