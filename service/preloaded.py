"""All that a worker imports: loaded once, in the process that workers are forked from, and shared by them.

Importing this module is what the fork server does before the first worker; see `dinrank.service.process.supervisor`.
"""

import gc

import uvicorn.lifespan.on
import uvicorn.loops.auto
import uvicorn.protocols.http.auto  # noqa: F401  to be loaded is all that is wanted of these

import dinrank.service.app
import dinrank.service.cli  # noqa: F401

gc.collect()
gc.freeze()  # a collection in a worker would otherwise write to every object, and writing ends the sharing
