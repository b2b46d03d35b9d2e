"""The page's process: gunicorn in this process as master, one worker with threads."""

import ctypes
import gc
import signal
import socket
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.sock import TCP6Socket, TCPSocket

from appliance import inherited, service, tls
from appliance.config import Settings
from appliance.service import Stop
from appliance.webui.proof import Proof

# Each open page's event stream holds one (`streams.MOST`); the others wait on the disk, not on
# each other.
_THREADS = 48
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
        _Master(_Application(settings), settings).run()


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
            "pre_fork": _share,
            "post_fork": _die_with_master,
            "post_worker_init": self._warm,
            **self._tls(),
        }
        for name, value in options.items():
            # Older releases know no control socket, and so need none switched off.
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def _tls(self) -> dict[str, Any]:
        """HTTPS where the site gave a certificate; read once, so that a bad one is told at start."""
        webui = self._settings.webui
        if not (webui.tls_certificate and webui.tls_key):
            return {}
        from appliance.webui.patience import PatientSocket

        context = tls.page_context(webui.tls_certificate, webui.tls_key)
        context.sslsocket_class = PatientSocket
        return {
            "certfile": str(webui.tls_certificate),
            "keyfile": str(webui.tls_key),
            "ssl_context": lambda _settings, _default: context,
        }

    def _warm(self, worker: Any) -> None:
        from appliance.webui import dicomweb_index, warming

        warming.start(self._settings)
        dicomweb_index.start(self._settings)
        # Else gunicorn waits for open event streams as long as it waits for anything.
        self.wsgi().extensions["echocart.streams"].stop_when(lambda: not worker.alive)

    def load(self) -> Flask:
        from appliance.webui.app import create_app

        return create_app(self._settings)


class _Master(Arbiter):  # type: ignore[misc]
    """gunicorn's master; tells systemd what requests of its own have shown."""

    def __init__(self, application: _Application, settings: Settings) -> None:
        super().__init__(application)
        self._webui = settings.webui
        self._proof = Proof(settings.webui)
        self._is_ready = False

    def start(self) -> None:
        """Listen, with the socket that systemd holds where there is one."""
        # gunicorn would take whatever systemd holds, at whatever address, and say that it is
        # ready before a worker serves.
        if given := inherited.take(self._webui.host, self._webui.port):
            kind = TCP6Socket if given.family == socket.AF_INET6 else TCPSocket
            self.LISTENERS = [kind(given.getsockname(), self.cfg, self.log, fd=given.detach())]
        with service.unheard():
            super().start()

    def murder_workers(self) -> None:
        """Look after the worker, and tell systemd how the page is; about once a second."""
        super().murder_workers()
        if self._proof.is_given():
            if not self._is_ready:
                service.ready(f"review page at {self._webui.url}")
                self._is_ready = True
            service.watchdog()


def _share(_master: Any, _worker: Any) -> None:
    """Keep what both processes hold out of full collections: each writes on every object it visits.

    Without this, the first one, minutes after the start, made 16 MB of shared memory two copies.
    """
    gc.collect()
    gc.freeze()


def _die_with_master(_master: Any, _worker: Any) -> None:
    """A worker that outlives a killed master would hold the port and the service's lock."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
