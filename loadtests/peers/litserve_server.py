"""LitServe: one worker process, dynamic batches.

Its route takes the annotations below for the bodies' schemas, so they must be types and not text.
"""

import os

import litserve

from loadtests.peers.recompute import BATCH_WAIT, MAX_BATCH, PORT, Recompute, Scored


class NextItems(litserve.LitAPI):
    """POST /predict {"history": [item_id…]} -> {"items": [{item_id, score}…]}."""

    def setup(self, device: str) -> None:
        """Called once in the worker."""
        self._model = Recompute()

    def decode_request(self, request: dict[str, list[str]]) -> list[str]:
        """The history."""
        return request["history"]

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Histories need not be of one length: no array is made of them here."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[Scored]:
        """One forward for the batch."""
        return self._model.answer(x)

    def unbatch(self, output: list[Scored]) -> list[Scored]:
        """Already a list."""
        return output

    def encode_response(self, output: Scored) -> dict[str, Scored]:
        """The body."""
        return {"items": output}


def main() -> None:
    """Serve until a signal."""
    api = NextItems(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT)
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
