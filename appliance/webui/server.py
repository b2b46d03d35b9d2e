"""The page's process: gunicorn in this process as master, one worker with threads."""

import ctypes
import signal
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from appliance import service
from appliance.config import Settings
from appliance.service import Stop

_THREADS = 16  # a tablet opens up to six connections; threads wait on the disk, not on each other
_WORKER_TIMEOUT_S = 30
_GRACEFUL_S = 5
_PR_SET_PDEATHSIG = 1


def run(settings: Settings, stop: Stop) -> None:
    """Serve the page until the process gets SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        The box's settings; the address is `settings.webui`.
    stop
        Unused while gunicorn runs: its master takes the same signals over.

    Raises
    ------
    SystemExit
        At the end, as gunicorn's master does.
    """
    if not stop.is_set():
        _Master(_Application(settings)).run()


class _Application(BaseApplication):  # type: ignore[misc]
    """Hands our settings to gunicorn; reads neither its command line nor its files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        host, port = self._settings.webui.host, self._settings.webui.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        options = {
            "bind": address,
            "workers": 1,
            "worker_class": "gthread",
            "threads": _THREADS,
            "timeout": _WORKER_TIMEOUT_S,
            "graceful_timeout": _GRACEFUL_S,
            "keepalive": 15,
            "loglevel": "warning",
            "proc_name": "echocart-webui",
            "control_socket_disable": True,
            # Imports finish before the fork: one that another thread of the master has begun
            # would never end in the worker.
            "preload_app": True,
            "post_fork": _die_with_master,
            "post_worker_init": self._warm,
            "when_ready": lambda _: service.ready(f"review page at http://{address}"),
        }
        for name, value in options.items():
            # Older releases know no control socket, and so need none switched off.
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def _warm(self, _worker: Any) -> None:
        from appliance.webui import warming

        warming.start(self._settings)

    def load(self) -> Flask:
        from appliance.webui.app import create_app

        return create_app(self._settings)


class _Master(Arbiter):  # type: ignore[misc]
    """gunicorn's master; tells the watchdog each time it has looked after its worker."""

    def murder_workers(self) -> None:
        super().murder_workers()
        service.watchdog()


def _die_with_master(_master: Any, _worker: Any) -> None:
    """A worker that outlives a killed master would hold the port and the service's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
