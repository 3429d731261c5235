"""`dropscribe plan`: which cards it looks at, what it says of them, and that the documents say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dropscribe.admin.ask import plan as command
from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED
from tests import nvidia_smi

DOCS = Path(__file__).parents[2] / "docs"
MARKED = re.compile(r"<!-- plan: begin .*? -->\n(.*?)<!-- plan: end -->", re.DOTALL)


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in."""
    for variable in ("DROPSCRIBE_CHUNK_SECONDS", "DROPSCRIBE_MODEL_SLOTS", "DROPSCRIBE_GPU_SHARE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["plan", *arguments], Context())
        return code, *capsys.readouterr()

    return call


def cards(out: str) -> list[dict[str, Any]]:
    return json.loads(out)["cards"]


def test_without_a_gpu_the_common_cards_stand_side_by_side(run) -> None:
    code, out, _ = run("--json")
    assert code == 0
    assert [card["name"] for card in cards(out)] == [f"{size} GB" for size in (6, 8, 12, 16, 24, 48, 80, 141)]
    assert [card["auto"]["fits"] for card in cards(out)] == [True] * 8
    precisions = [card["auto"]["precision"] for card in cards(out)]
    assert precisions == ["nf4", "nf4", "nf4", "int8", "bf16", "bf16", "bf16", "bf16"]


def test_a_card_is_planned_by_the_size_on_its_box(run) -> None:
    (card,) = cards(run("--vram", "24", "--json")[1])
    plan = memory_plan.choose(24 * 2**30, PUBLISHED)
    assert card["vram"] == 24 * 2**30
    assert card["auto"]["total"] == plan.total == sum(card["auto"]["parts"].values())
    assert [row["precision"] for row in card["precisions"]] == ["bf16", "int8", "nf4"]
    text = run("--vram", "24")[1]
    assert plan.explain() in text
    assert re.search(r"24 GB +bf16 +16.7 GB +30 min .* 2 x 30 min", text)


def test_a_card_that_is_too_small_says_so_with_the_numbers(run) -> None:
    code, out, _ = run("--vram", "4")
    assert code == 0
    assert out.count("does not fit") == 3
    assert "too small: even nf4" in out
    assert "of 4.29 GB" in out


def test_what_is_moved_off_a_small_card_is_said(run) -> None:
    out = " ".join(run("--vram", "8")[1].split())
    assert "8 GB: auto nf4, embeddings on the CPU, with chunks of 810 s and slots: 1 takes" in out
    (card,) = cards(run("--vram", "8", "--json")[1])
    assert card["auto"]["saving"] == "embeddings on the CPU"
    assert cards(run("--vram", "24", "--json")[1])[0]["auto"]["saving"] == ""


def test_auto_follows_the_settings(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_CHUNK_SECONDS", "900")
    monkeypatch.setenv("DROPSCRIBE_MODEL_SLOTS", "6")
    (card,) = cards(run("--vram", "24", "--json")[1])
    assert (card["auto"]["precision"], card["auto"]["chunk_seconds"], card["auto"]["slots"]) == ("int8", 900.0, 6)


def test_a_share_of_a_card_is_planned_as_the_worker_does(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_GPU_SHARE", "0.5")
    (card,) = cards(run("--vram", "48", "--json")[1])
    assert (card["name"], card["vram"]) == ("48 GB, 50% of it", 24 * 2**30)
    assert card["auto"]["slots"] == memory_plan.choose(24 * 2**30, PUBLISHED).slots


def test_the_gpus_of_the_machine_are_found(tools: Path, run) -> None:
    nvidia_smi.install_listing(tools, ("NVIDIA L4", 23_034), ("NVIDIA H200", 143_771), ("NVIDIA GB10", "[N/A]"))
    both = cards(run("--json")[1])
    assert [card["name"] for card in both] == ["GPU 0, NVIDIA L4", "GPU 1, NVIDIA H200"]
    assert [card["vram"] for card in both] == [23_034 * 2**20, 143_771 * 2**20]
    assert cards(run("--gpu", "1", "--json")[1]) == both[1:]
    assert len(cards(run("--vram", "8", "--json")[1])) == 1


def test_the_slices_and_cards_that_were_given_are_planned(tools: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "mig")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,MIG-cba663e8")
    assert [(card["name"], card["vram"]) for card in cards(run("--json")[1])] == [
        ("GPU 0, NVIDIA A100-SXM4-40GB", 40_960 * 2**20),
        ("GPU 1, NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb", 9_984 * 2**20),
    ]


def test_a_gpu_that_is_not_there_is_refused(tools: Path, run) -> None:
    code, out, err = run("--gpu", "0")
    assert (code, out) == (2, "")
    assert "there is no GPU 0; nvidia-smi shows: none" in err
    nvidia_smi.install_listing(tools, ("NVIDIA L4", 23_034))
    assert "nvidia-smi shows: 0" in run("--gpu", "1")[2]


def test_a_broken_driver_is_named(tools: Path, run) -> None:
    nvidia_smi.install(tools, "exit 18")
    code, _, err = run()
    assert code == 1
    assert "nvidia-smi fails (exit status 18); fix the NVIDIA driver" in err


def test_a_card_and_a_gpu_exclude_each_other(run) -> None:
    assert run("--vram", "24", "--gpu", "0")[0] == 2


def test_every_field_of_the_json_is_documented(run) -> None:
    document = (DOCS / "schemas" / "plan.json").read_text()
    card = cards(run("--vram", "24", "--json")[1])[0]
    (row, *_) = card["precisions"]
    fields = {*card, *card["auto"], *row, *row["fitting"][0]}
    assert [field for field in sorted(fields) if f"`{field}`" not in document and f'"{field}"' not in document] == []


def markdown() -> str:
    """The table of the common cards with the default settings, as the documents have it."""
    lines = [command.COLUMNS, ["---"] * 3 + ["--:"] * 4 + ["---"]]
    for size in command.SIZES:
        card = command.of_size(size)
        lines += command.rows(card, memory_plan.choose(card.memory, PUBLISHED))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def test_the_documents_show_what_the_program_says() -> None:
    (shown,) = MARKED.findall((DOCS / "models.md").read_text())
    assert shown == markdown()


def test_the_sizes_in_the_documents_are_those_of_the_plan() -> None:
    document = (DOCS / "models.md").read_text()
    plan = memory_plan.plan(24 * memory_plan.GIB, PUBLISHED, memory_plan.Precision.BF16, 1800, 1)
    assert f"{memory_plan.answer_budget(1800):,} of answer" in document
    assert (
        f"{memory_plan.prompt_tokens(PUBLISHED, 1800) - 13_500:,} of prompt: {plan.parts['cache'] / 1e9:.1f} GB"
        in document
    )
    assert f"{memory_plan.PREFILL_TOKENS:,} tokens of prompts" in document
    paged = memory_plan.most_slots(80 * memory_plan.GIB, PUBLISHED, memory_plan.Precision.BF16, 900, paged=True)
    without = memory_plan.most_slots(80 * memory_plan.GIB, PUBLISHED, memory_plan.Precision.BF16, 900)
    assert 1.05 < paged / without < 1.08  # "about 7 % more slots"
