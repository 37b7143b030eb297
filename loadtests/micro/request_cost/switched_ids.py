"""Server whose recommendation ids signals turn off and on.

    python -m loadtests.micro.request_cost.switched_ids

It is `recblr-serve` with one worker. SIGUSR1 turns ids off and SIGUSR2 on. One process measured both ways differs in
nothing but the ids, while two starts of a server differ by several per cent.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from service.__main__ import main
from service.core.attribution.attribution import Attribution
from service.core.engine_requests import ScoredItem

_issue = Attribution.id_of_answer


def _no_id(
    self: Attribution,
    model_version: str,
    items: Sequence[ScoredItem],
    revision: str | None,
    *,
    for_user: bool = False,
) -> str:
    return ""


def _switch(signal_number: int, frame: object) -> None:
    Attribution.id_of_answer = _issue if signal_number == signal.SIGUSR2 else _no_id  # type: ignore[method-assign]


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _switch)
    signal.signal(signal.SIGUSR2, _switch)
    sys.exit(main())
