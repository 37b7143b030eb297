"""Locust in open loop: requests at a target rate with Poisson arrivals, four events to one read.

    locust -f loadtests/locust/open_loop.py -u 1 --rate 300 --host http://127.0.0.1:8000

One user spawns a greenlet when a request is due and has it report the time since then, so that waiting counts.
"""

from __future__ import annotations

import random
import time
from argparse import ArgumentParser

import gevent
from locust import constant, events, task

from loadtests.locust.locustfile import HISTORIES, RUN, Visitor


@events.init_command_line_parser.add_listener
def _add_rate(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")


class OpenLoop(Visitor):
    """All users of the service at once."""

    wait_time = constant(0)
    concurrency = 256

    def on_start(self) -> None:
        """The schedule begins now."""
        self._due = time.perf_counter()

    @task
    def arrive(self) -> None:
        """Send the next request when it is due."""
        self._due += random.expovariate(self.environment.parsed_options.rate)
        wait = self._due - time.perf_counter()
        gevent.sleep(max(0.0, wait))
        number = random.randrange(len(HISTORIES.of_user))
        if random.random() < 0.8:
            item = random.choice(HISTORIES.of_user[number])
            gevent.spawn(self.post_event, f"{RUN}-{number}", item, self._due)
        else:
            gevent.spawn(self.read, f"{RUN}-{number}", "read", self._due)
