"""Locust in open loop, with Poisson arrivals at a target rate.

    PYTHONPATH=. locust -f loadtests/locust/open_loop.py -u 1 --rate 300 --host http://127.0.0.1:8000

One user starts a greenlet for each request that is due. Latency counts from the due time.
"""

from __future__ import annotations

import random
import time
from argparse import ArgumentParser

import gevent
from locust import constant, events, task

from loadtests.locust.locustfile import HISTORIES, RUN, ApiUser

EVENT_FRACTION = 0.8


@events.init_command_line_parser.add_listener
def _add_rate_option(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")


class OpenLoop(ApiUser):
    """Sends the requests of all users of the service."""

    wait_time = constant(0)
    concurrency = 256

    def on_start(self) -> None:
        """Start the schedule."""
        self._due = time.perf_counter()

    @task
    def send_next(self) -> None:
        """Wait until the next request is due and send it."""
        self._due += random.expovariate(self.environment.parsed_options.rate)
        gevent.sleep(max(0.0, self._due - time.perf_counter()))
        number = random.randrange(len(HISTORIES.of_user))
        if random.random() < EVENT_FRACTION:
            item = random.choice(HISTORIES.of_user[number])
            gevent.spawn(self.post_event, f"{RUN}-{number}", item, self._due)
        else:
            gevent.spawn(self.read, f"{RUN}-{number}", "read", self._due)
