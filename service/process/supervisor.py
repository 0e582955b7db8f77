"""Supervisor of several workers: replaces dead ones, forwards SIGHUP, and shuts them down in order."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing import Pipe
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from dinrank.service.process.stopping import DrainingServer, ServerConfig
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import forget_worker

_RETRY_S = 5.0  # before another attempt to start a worker that failed

_LONGEST_END_S = 10.0  # of a worker, beyond the time for draining and requests in flight


class NoWorkerLeft(Exception):
    """No worker is running, and the last attempt to start one failed."""


class Worker(Process):
    """A worker process whose server is a `DrainingServer`."""

    config: ServerConfig

    def __init__(self, config: ServerConfig, sockets: list[socket.socket], *, drain_ms: int) -> None:
        """Replaces uvicorn's, which starts a new interpreter for each worker and has no setting for that."""
        self.config = config
        self._server: uvicorn.Server | None = None
        self._drain_ms = drain_ms
        self.parent_conn, self.child_conn = Pipe()
        self.process = worker_process(_work, worker=self, sockets=sockets)  # type: ignore[assignment]  # forked

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = DrainingServer(self.config, drain_ms=self._drain_ms)
        return self._server


def _work(worker: Worker, sockets: list[socket.socket]) -> None:
    """Run a worker, in the new process."""
    worker.config.configure_logging()
    with suppress(KeyboardInterrupt):  # Ctrl-C ends the supervisor too
        worker.target(sockets)


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which keeps the number of workers, with four changes.

    SIGHUP makes the workers check for a new bundle; uvicorn would restart them one by one. A worker that fails to
    start does not end the others, which have a good bundle; if none is left, the service ends, as callers would wait
    in the backlog for nothing. Metrics drop a worker that has ended. At shutdown, a worker that does not end in time is
    killed.
    """

    config: ServerConfig

    def __init__(self, config: ServerConfig, sockets: list[socket.socket], *, drain_ms: int) -> None:
        super().__init__(config, sockets)
        self._drain_ms = drain_ms
        self._has_lost_all = False
        self._retry_at_s: dict[int, float] = {}  # by the worker's index
        self._failed: set[int] = set()  # places whose last attempt failed; empty again once ready

    def init_processes(self) -> None:
        self.processes = [self._started() for _ in range(self.processes_num)]

    def _started(self) -> Worker:
        worker = Worker(self.config, self.sockets, drain_ms=self._drain_ms)
        worker.start()
        return worker

    def run(self) -> None:
        """Run until a signal ends the service.

        Raises:
            NoWorkerLeft
        """
        super().run()
        if self._has_lost_all:
            raise NoWorkerLeft("no worker is left, and none can start; see the log lines above")

    def join_all(self) -> None:
        grace_s = self.config.timeout_graceful_shutdown or 0
        end_s = time.monotonic() + self._drain_ms / 1_000 + grace_s + _LONGEST_END_S
        for worker in self.processes:
            worker.process.join(max(0.0, end_s - time.monotonic()))
            if worker.process.is_alive():
                log_event(logging.ERROR, "worker_killed", pid=worker.pid, reason="it did not end in time")
                worker.process.kill()
                worker.process.join()

    def keep_subprocess_alive(self) -> None:
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if place in self._retry_at_s:
                self._retry(place)
            elif not worker.is_alive(self.config.timeout_worker_healthcheck):
                self._replace(place, worker)
            elif place in self._failed and worker.is_ready(self.config.timeout_worker_healthcheck):
                self._failed.remove(place)

    def _replace(self, place: int, worker: Process) -> None:
        worker.kill()  # it has ended or hangs
        worker.join()
        assert worker.pid is not None
        forget_worker(worker.pid)
        log_event(logging.ERROR, "worker_ended", pid=worker.pid, exit_code=worker.exitcode)
        if worker.exitcode != STARTUP_FAILURE:
            self.processes[place] = self._started()
            return
        self._retry_at_s[place] = time.monotonic() + _RETRY_S
        self._failed.add(place)
        if len(self._failed) == len(self.processes):
            self._has_lost_all = True
            self.should_exit.set()

    def _retry(self, place: int) -> None:
        if time.monotonic() >= self._retry_at_s[place]:
            del self._retry_at_s[place]
            self.processes[place] = self._started()

    def handle_hup(self) -> None:
        """Forward SIGHUP to the workers that have started; the others check the path by themselves once they have."""
        for worker in self.processes:
            if worker.process.is_alive() and worker.is_ready(self.config.timeout_worker_healthcheck):
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGHUP)

    def handle_ttin(self) -> None:
        """Ignore uvicorn's signals for one worker more or fewer: the setting decides the number."""
        log_event(logging.WARNING, "signal_ignored", instead="set DINRANK_WORKERS and start the service again")

    handle_ttou = handle_ttin

    def terminate_all(self) -> None:
        """Close the listeners before the workers end: they have their own copies, and the last one closes the port."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


_LONGEST_TEMPORARY_PATH = 107 - len("/pymp-12345678/listener-12345678")  # a socket path has at most 107 bytes


@cache
def worker_context() -> ForkServerContext | SpawnContext:
    """Return the multiprocessing context: a fork server, which saves about 40 MB per worker.

    Falls back to new interpreters if the temporary folder's path is too long for the fork server's socket.
    """
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY_PATH:
        log_event(
            logging.INFO, "workers_not_forked", reason="the path of the temporary folder is too long for a socket"
        )
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dinrank.service.preloaded"])
    return context


def worker_process(target: Callable[..., None], **arguments: Any) -> BaseProcess:
    """Return a worker process that is not started yet."""
    return worker_context().Process(target=target, kwargs=arguments)
