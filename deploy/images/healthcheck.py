"""Tells by its exit status whether the process in this container answers.

``HEALTH`` says where: ``http://…`` or ``https://…`` must answer 200, ``tcp://host:port`` must take
a connection.
"""

import os
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

SECONDS = 4


def answers(address: str) -> bool:
    """Ask once."""
    place = urllib.parse.urlsplit(address)
    try:
        if place.scheme == "tcp":
            with socket.create_connection((place.hostname, place.port), SECONDS):
                return True
        # It asks the process beside it, whose certificate names another host.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(address, timeout=SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(not answers(os.environ.get("HEALTH", "http://127.0.0.1:8080/health/live")))
