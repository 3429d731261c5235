"""The tensors of a file of PyTorch are read without it, and a pickle that asks for more is refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import torch_archive


def write(path: Path, content: object) -> Path:
    """An archive as `torch.save` lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
    return path


def test_what_torch_saved_is_read_to_the_bit(tmp_path: Path) -> None:
    saved = OrderedDict(
        weight=torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7,
        part=torch.arange(10, dtype=torch.float32)[3:7],  # of a longer storage
        steps=torch.tensor(5),
    )
    torch.save(saved, tmp_path / "saved.pt")
    found = torch_archive.read(tmp_path / "saved.pt")
    assert list(found) == list(saved)
    for name, tensor in saved.items():
        array = np.frombuffer(found[name].content, found[name].dtype).reshape(found[name].shape)
        assert np.array_equal(array, tensor.numpy()), name
    assert found["steps"] == torch_archive.StoredTensor(torch_archive.INT64, (), (5).to_bytes(8, "little"))


class _Harmful:
    """Unpickled by pickle itself, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_asks_for_a_program_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "harmful.pt", {"weight": _Harmful(tmp_path / "made")})
    with pytest.raises(ModelUnavailableError, match=r"harmful\.pt is not a checkpoint .*asks for posix\.mkdir"):
        torch_archive.read(path)
    assert not (tmp_path / "made").exists()


def test_a_tensor_of_another_kind_or_order_is_refused(tmp_path: Path) -> None:
    torch.save({"half": torch.zeros(2, dtype=torch.float16)}, tmp_path / "half.pt")
    with pytest.raises(ModelUnavailableError, match=r"asks for torch\.HalfStorage"):
        torch_archive.read(tmp_path / "half.pt")
    torch.save({"turned": torch.zeros(2, 3).T}, tmp_path / "turned.pt")
    with pytest.raises(ModelUnavailableError, match="do not lie one after the other"):
        torch_archive.read(tmp_path / "turned.pt")


def test_a_storage_that_broke_off_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(100)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "short.pt", "w") as short:
        for one in whole.infolist():
            content = whole.read(one)
            short.writestr(one.filename, content[:40] if "/data/" in one.filename else content)
    with pytest.raises(ModelUnavailableError, match="not as long as the pickle says"):
        torch_archive.read(tmp_path / "short.pt")


@pytest.mark.parametrize("content", [["weight"], {"weight": 1.0}, "weight"])
def test_what_is_no_dictionary_of_tensors_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="not a checkpoint that can be read safely"):
        torch_archive.read(write(tmp_path / "other.pt", content))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    with pytest.raises(ModelUnavailableError, match=r"page\.pt is not a checkpoint that can be read safely"):
        torch_archive.read(tmp_path / "page.pt")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w"):
        pass
    with pytest.raises(ModelUnavailableError, match=r"empty\.pt is not a checkpoint that can be read safely"):
        torch_archive.read(tmp_path / "empty.pt")
