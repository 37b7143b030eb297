"""The step that is measured is the step of the network."""

from __future__ import annotations

import numpy as np
import torch

from loadtests.micro.engine_replay import step, torch_step
from model.config import ModelConfig
from model.network import RecBLR
from tests.model.builders import bundle_of


def test_measured_step_equals_the_step_of_the_network() -> None:
    bundle = bundle_of(ModelConfig(items=40, dim=8), seed=3)
    network = RecBLR(bundle.config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    network.eval()
    with torch.inference_mode():
        expected, _ = network(torch.tensor([[1]]))
    call, outputs = step(bundle, 2)
    call()
    assert np.allclose(outputs[0], expected[0, -1].numpy(), rtol=1e-4, atol=1e-5)
    reference = torch_step(bundle)
    assert reference is not None
    reference()
