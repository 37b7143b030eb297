"""Import of published checkpoints: equal scores, and no code that runs."""

from __future__ import annotations

import collections
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from ingest.errors import DataError
from model.bundle.bundle import BundleError, load_bundle
from model.config import ModelConfig
from model.training.__main__ import main
from model.training.publishing.checkpoint_import import import_checkpoint, items_from_inter, items_from_text
from model.training.publishing.torch_checkpoint import TorchCheckpoint
from tests.model.builders import network_of
from tests.model.training.published import published_scores, random_parameters

ITEMS, DIM, M = 40, 16, 200


class Configuration:
    """Stand-in for RecBole's config object, whose contents must not matter."""

    def __init__(self) -> None:
        self.configuration = {"device": torch.device("cpu"), "metrics": ["Hit"], "type": Kind.SEQUENTIAL}


class Kind:
    SEQUENTIAL: ClassVar[Any] = collections.OrderedDict(a=np.float64(3.0), b={1, 2}, c=bytearray(b"x").hex())


def save(path: Path, parameters: dict[str, torch.Tensor] | None = None, **options: Any) -> Path:
    """Save a checkpoint as RecBole does."""
    parameters = random_parameters(ITEMS, DIM, layers=2) if parameters is None else parameters
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    content = {
        "config": Configuration(),
        "epoch": 46,
        "best_valid_score": np.float64(0.17),
        "state_dict": collections.OrderedDict(parameters),
        "other_parameter": None,
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content, path, **options)
    return path


def write_ids(path: Path, count: int = ITEMS) -> Path:
    path.write_text("".join(f"item {n}\n" for n in range(1, count + 1)))
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    save(folder / "RecBLR.pth")
    out = folder / "bundle"
    arguments = ["import", str(folder / "RecBLR.pth"), "--items", str(write_ids(folder / "items.txt"))]
    assert main([*arguments, "--max-length", str(M), "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("length", [1, 2, 5, 57, 150, 200])
def test_bundle_scores_equal_those_of_the_published_code(imported: Path, length: int) -> None:
    bundle = load_bundle(imported)
    history = np.random.default_rng(length).integers(1, ITEMS + 1, length).tolist()
    expected = published_scores(random_parameters(ITEMS, DIM, layers=2), history, M)
    network = network_of(bundle.config, dict(bundle.weights)).double()
    with torch.no_grad():
        outputs, _ = network(torch.tensor([history]), network.initial_state[None].double())
        found = outputs[0, -1] @ network.item_embedding.weight.T
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_scores_from_a_zero_state_differ(imported: Path) -> None:
    bundle = load_bundle(imported)
    network = network_of(bundle.config, dict(bundle.weights)).double()
    expected = published_scores(random_parameters(ITEMS, DIM, layers=2), [3, 1, 2], M)
    with torch.no_grad():
        outputs, _ = network(torch.tensor([[3, 1, 2]]), torch.zeros(1, *bundle.config.state_shape).double())
        found = outputs[0, -1] @ network.item_embedding.weight.T
    assert float((found - expected).abs().max() / expected.abs().max()) > 1e-2


def test_bundle_has_the_configuration_and_the_source(imported: Path) -> None:
    bundle = load_bundle(imported)
    assert bundle.config == ModelConfig(items=ITEMS, dim=DIM, start_token=False)
    assert [item.item_id for item in bundle.items[:2]] == ["item 1", "item 2"]
    assert bundle.training_data == {"source": "RecBLR.pth", "imported": "published code", "max_length": M}
    assert not bundle.weights["initial_state"][:, :-1].any()
    assert bundle.weights["initial_state"][:, -1].any()


@pytest.mark.parametrize("length", [1, 64, 128])
def test_length_of_a_power_of_two_needs_no_initial_state(tmp_path: Path, length: int) -> None:
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    bundle = import_checkpoint(save(tmp_path / "a.pth"), items, length, tmp_path / "out")
    assert not bundle.weights["initial_state"].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    parameters = {name: value.to(dtype) for name, value in random_parameters(ITEMS, DIM, layers=1).items()}
    parameters["layer_norm.bias"] = torch.stack([parameters["layer_norm.weight"], parameters["layer_norm.bias"]])[1]
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    bundle = import_checkpoint(save(tmp_path / "a.pth", parameters), items, M, tmp_path / "out")
    for name, value in parameters.items():
        assert np.array_equal(bundle.weights[name], value.float().numpy()), name


def test_expansion_width_and_layers_follow_from_the_shapes(tmp_path: Path) -> None:
    parameters = random_parameters(ITEMS, 8, layers=3, taps=3, expansion=3)
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    bundle = import_checkpoint(save(tmp_path / "a.pth", parameters), items, M, tmp_path / "out")
    assert bundle.config == ModelConfig(ITEMS, dim=8, expansion=3, conv_width=3, layers=3, start_token=False)


def test_items_of_an_inter_file_are_in_order_of_first_appearance(tmp_path: Path) -> None:
    lines = ["u1\tb\t9", "u1\ta\t1", "u2\tb\t2", "u3\tc\t3", "u2\ta\t4", "\tx\t5", "u2\t\t6", "u1\tb\t7"]
    path = tmp_path / "e.inter"
    path.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(lines) + "\n")
    assert [(item.item_id, item.popularity) for item in items_from_inter(path, 0, 0)] == [
        ("b", 3),
        ("a", 2),
        ("c", 1),
    ]
    # c is dropped, so u3 has no event left; nothing else changes.
    assert [item.item_id for item in items_from_inter(path, 2, 2)] == ["b", "a"]
    # u2 is dropped with two events, then a with one, then u1 with two.
    assert items_from_inter(path, 3, 2) == []


def test_padding_line_of_an_items_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("[PAD]\n7\n8\n")
    assert [item.item_id for item in items_from_text(tmp_path / "items.txt")] == ["7", "8"]


def test_number_of_ids_that_does_not_fit_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.pth")
    path = tmp_path / "e.inter"
    path.write_text("user_id:token\titem_id:token\nu\t1\nu\t2\n")
    arguments = ["import", str(tmp_path / "a.pth"), "--inter", str(path), "--max-length", "200"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "has 40 items beside row 0, but 2 ids are given" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


class RunsCommand:
    """Object that would run a command if pickle loaded it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.call, (["touch", str(self.path)],)


def test_command_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    parameters: dict[str, Any] = random_parameters(ITEMS, DIM, layers=2)
    content = {
        "config": RunsCommand(tmp_path / "ran"),
        "state_dict": {**parameters, "more": RunsCommand(tmp_path / "ran")},
    }
    torch.save(content, tmp_path / "a.pth")
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    import_checkpoint(tmp_path / "a.pth", items, M, tmp_path / "out")  # the rest is valid
    assert not (tmp_path / "ran").exists()
    assert load_bundle(tmp_path / "out").config.items == ITEMS


def test_damaged_checkpoint_raises(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.pth").read_bytes()
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    for cut in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            import_checkpoint(tmp_path / "cut.pth", items, M, tmp_path / "out")
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "damaged.pth").write_bytes(damaged)
        try:
            import_checkpoint(tmp_path / "damaged.pth", items, M, tmp_path / f"out{_}")
        except (DataError, BundleError):
            assert not (tmp_path / f"out{_}").exists()


def test_old_format_and_missing_file_raise(tmp_path: Path) -> None:
    save(tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"PyTorch 1\.6 or later"):
        TorchCheckpoint(tmp_path / "old.pth")
    with pytest.raises(DataError, match="cannot be read"):
        TorchCheckpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_checkpoint_of_another_model_raises(tmp_path: Path, change: str) -> None:
    parameters = random_parameters(ITEMS, DIM, layers=2)
    name = "recurrent_layers.1.behavior_modeling.gates.bias"
    if change == "missing":
        del parameters[name]
    elif change == "more":
        parameters["attention.weight"] = torch.ones(3)
    else:
        parameters[name] = torch.ones(3)
    items = items_from_text(write_ids(tmp_path / "items.txt"))
    with pytest.raises(DataError, match=r"gates.bias|attention.weight"):
        import_checkpoint(save(tmp_path / "a.pth", parameters), items, M, tmp_path / "out")
