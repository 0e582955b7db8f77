"""The process above several workers: replaces those that die, passes SIGHUP on, and ends them in order."""

import logging
import os
import signal
import socket
import time
from contextlib import suppress
from multiprocessing import Pipe

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from service.forking import worker_process
from service.stopping import DrainingServer, ServerConfig
from service.telemetry import forget_worker, log_event

_RETRY_S = 5.0  # before a worker that could not start is tried again


class Worker(Process):
    """A worker process whose server is a `DrainingServer`."""

    config: ServerConfig

    def __init__(self, config: ServerConfig, sockets: list[socket.socket], *, drain_ms: int) -> None:
        """Instead of uvicorn's, which starts a new interpreter for each worker, and has no setting for that."""
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
    """In the new process."""
    worker.config.configure_logging()
    with suppress(KeyboardInterrupt):  # whoever pressed the keys ends the supervising process too
        worker.target(sockets)


class Supervisor(Multiprocess):
    """uvicorn's, which keeps the number of workers, and three things more.

    SIGHUP makes the workers look for another bundle; uvicorn would start them anew, one after the other. A worker that
    cannot start does not end the others once any has served, for they have a bundle that is good. And the metrics
    forget what a worker was when it has ended.
    """

    config: ServerConfig

    def __init__(self, config: ServerConfig, sockets: list[socket.socket], *, drain_ms: int) -> None:
        super().__init__(config, sockets)
        self._drain_ms = drain_ms
        self._has_served = False
        self._retry_at_s: dict[int, float] = {}  # by the worker's place

    def init_processes(self) -> None:
        self.processes = [self._started() for _ in range(self.processes_num)]

    def _started(self) -> Worker:
        worker = Worker(self.config, self.sockets, drain_ms=self._drain_ms)
        worker.start()
        return worker

    def keep_subprocess_alive(self) -> None:
        for place, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if place in self._retry_at_s:
                self._retry(place)
            elif worker.is_alive(self.config.timeout_worker_healthcheck):
                self._has_served = self._has_served or worker.is_ready(self.config.timeout_worker_healthcheck)
            else:
                self._replace(place, worker)

    def _replace(self, place: int, worker: Process) -> None:
        worker.kill()  # it has ended, or it hangs
        worker.join()
        assert worker.pid is not None
        forget_worker(worker.pid)
        log_event(logging.ERROR, "worker_ended", pid=worker.pid, exit_code=worker.exitcode)
        if worker.exitcode != STARTUP_FAILURE:
            self.processes[place] = self._started()
        elif self._has_served:
            self._retry_at_s[place] = time.monotonic() + _RETRY_S
        else:
            self.should_exit.set()  # the first ones would fail in the same way for ever

    def _retry(self, place: int) -> None:
        if time.monotonic() >= self._retry_at_s[place]:
            del self._retry_at_s[place]
            self.processes[place] = self._started()

    def handle_hup(self) -> None:
        """A worker that has not started yet looks by itself when it has."""
        for worker in self.processes:
            if worker.process.is_alive() and worker.is_ready(self.config.timeout_worker_healthcheck):
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGHUP)

    def handle_ttin(self) -> None:
        """uvicorn's signals for a worker more or fewer: the setting says how many there are."""
        log_event(logging.WARNING, "signal_ignored", instead="set DINRANK_WORKERS and start the service again")

    handle_ttou = handle_ttin

    def terminate_all(self) -> None:
        """Workers have their own copies of the listener, and it closes with the last one."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
