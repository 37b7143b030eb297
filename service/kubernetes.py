"""Variables that Kubernetes injects for a Service whose name begins with recblr.

A Service `recblr` gives every pod of its namespace RECBLR_SERVICE_HOST, RECBLR_PORT=tcp://..., RECBLR_PORT_8000_TCP
and the like. None of them is a setting.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

_URL = re.compile(r"(tcp|udp|sctp)://\S+")
_PORT = re.compile(r"(RECBLR\w*?)_PORT(_\d+_(TCP|UDP|SCTP))?")
_SUFFIX = re.compile(r"_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?")


def drop_injected(environment: MutableMapping[str, str]) -> list[str]:
    """Remove what Kubernetes injects, and return the names.

    A Service is recognised by the URL of one of its ports, so that a misspelt setting is still found.
    """
    ports = ((_PORT.fullmatch(name), value) for name, value in environment.items())
    services = {match[1] for match, value in ports if match and _URL.fullmatch(value)}
    injected = [name for name, value in environment.items() if _is_injected(name, value, services)]
    for name in injected:
        del environment[name]
    return sorted(injected)


def _is_injected(name: str, value: str, services: set[str]) -> bool:
    if any(name.startswith(service) and _SUFFIX.fullmatch(name[len(service) :]) for service in services):
        return True
    return bool(_PORT.fullmatch(name) and _URL.fullmatch(value))
