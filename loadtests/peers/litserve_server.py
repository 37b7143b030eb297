"""LitServe server: one worker process, dynamic batches.

LitServe reads the annotations at run time for its schemas, so this module does not postpone them.
"""

import os

import litserve

from loadtests.peers.peer_settings import PORT
from loadtests.peers.recompute import MAX_BATCH, MAX_BATCH_WAIT_SECONDS, Recompute, ScoredItems


class NextItems(litserve.LitAPI):
    """POST /predict {"history": [item_id…]} -> {"items": [{item_id, score}…]}."""

    def setup(self, device: str) -> None:
        """Load the network, once in the worker."""
        self._model = Recompute()

    def decode_request(self, request: dict[str, list[str]]) -> list[str]:
        """Return the history of a request body."""
        return request["history"]

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Return the histories unchanged: their lengths differ, so they form no array."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[ScoredItems]:
        """Return recommendations for a batch, by one forward."""
        return self._model.recommend(x)

    def unbatch(self, output: list[ScoredItems]) -> list[ScoredItems]:
        """Return the batch unchanged: it is a list already."""
        return output

    def encode_response(self, output: ScoredItems) -> dict[str, ScoredItems]:
        """Return a response body."""
        return {"items": output}


def main() -> None:
    """Serve until a signal."""
    api = NextItems(max_batch_size=MAX_BATCH, batch_timeout=MAX_BATCH_WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(
        host="127.0.0.1",
        port=int(os.environ[PORT]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
