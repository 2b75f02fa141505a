"""Where a server listens, for those who start one: reading a port, saying why it cannot be had, opening the page there.

Standard library only.
"""

import argparse
import errno
import os
import sys
import threading
import webbrowser

DEFAULT_PORT = 8000


def port_number(text: str) -> int:
    """For argparse."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)


def page_address(host: str, port: int) -> str:
    """What a browser on this machine is to open: http://localhost:8000."""
    shown_host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://[{shown_host}]:{port}" if ":" in shown_host else f"http://{shown_host}:{port}"


def why_not(error: OSError, host: str, port: int, command: str) -> str:
    """Why nobody can listen there, in a sentence; command: what the server is started with."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; start with: {command} --port {port + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; start with: {command} --port {DEFAULT_PORT}"
    return f"cannot listen on {host}, port {port}: {error.strerror or error}"


def open_page(address: str) -> None:
    """In a browser, where there is a screen; without one it would be a text browser in this very terminal."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform in {"darwin", "win32"} or has_display:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
