#!/usr/bin/env bash
# All that is to be learnt on a card, in one go of a limited time; what was measured is printed and kept at once.
#
#   bench/on_card.sh wheels FOLDER [PYTHON [CUDA]]  with network: fetch what a machine with PyTorch lacks (3.12, 130)
#   bench/on_card.sh measure FOLDER [SECONDS]       on the card: tests/gpu, bench.encoder, bench.gpu in bf16, int8, nf4 (450 s)
#   bench/on_card.sh rehearse FOLDER [SECONDS]      the same without a card, with a tiny model: does all of it run?
#
# On a card without network: carry the wheels there, install them with `pip install --no-index --no-deps --target`, name
# that folder in PYTHONPATH, and measure.
set -uo pipefail
cd "$(dirname "$0")/.."

# What bench.gpu and tests/gpu import beside PyTorch and what it needs, and what these import.
PACKAGES=(transformers tokenizers huggingface_hub safetensors accelerate bitsandbytes regex pydantic pydantic_core
    annotated-types typing-inspection typing_extensions anyio httpx2 httpcore2 h11 truststore idna cffi soundfile redis
    pytest pluggy iniconfig pygments sortedcontainers)

wheels() {
    local folder=$1 python=${2:-3.12} cuda=${3:-130} platforms=() minor
    for minor in 39 38 37 36 35 34 33 32 31 30 29 28 27 26 25 24 23 22 21 20 19 18 17; do
        platforms+=(--platform "manylinux_2_${minor}_x86_64")
    done
    grep --ignore-case --extended-regexp "^($(IFS='|'; echo "${PACKAGES[*]}" | tr _ -))==" <(tr _ - <constraints.txt) \
        >"$folder.txt"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any \
        --dest "$folder" --requirement "$folder.txt"
    # bitsandbytes brings a library for each CUDA; all but one are left here.
    python3 - "$folder" "$cuda" <<'PYTHON'
import sys, zipfile
from pathlib import Path

for wheel in Path(sys.argv[1]).glob("bitsandbytes-*.whl"):
    whole = wheel.rename(wheel.with_suffix(".whole"))
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if not name.endswith(".so") or f"cuda{sys.argv[2]}" in name or name.endswith("_cpu.so"):
                new.writestr(name, old.read(name))
    whole.unlink()
PYTHON
    du --summarize --human-readable "$folder"
}

left() { echo $((limit - SECONDS)); }

# Run a command for so many seconds at most; what it prints is seen at once, and kept in a file.
keep() {
    local seconds=$1 file=$2
    shift 2
    timeout "$seconds" "$@" 2>&1 | tee "$file"
}

on=(--device cuda)
work=(--chunks 128 64 16 1 --minutes 5 --steps 32)

rehearse() {
    on=(--device cpu --tiny)
    work=(--chunks 3 1 --minutes 0.05 --steps 6)
    measure "$@"
}

measure() {
    local folder=$1 attention=auto precision
    limit=${2:-450}
    mkdir -p "$folder"
    export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
    keep 60 "$folder/attention.txt" python3 - "${on[1]}" <<'PYTHON' || attention=sdpa
import sys
import torch, transformers
from dropscribe.models.vibevoice.runner.attention import varlen
from dropscribe.models.vibevoice.runner.attention_check import problem

name = torch.cuda.get_device_name() if sys.argv[1] == "cuda" else "CPU"
print(f"torch {torch.__version__}, transformers {transformers.__version__}, {name}", flush=True)
found = problem(varlen, 28, 4, 128, torch.zeros(0, dtype=torch.bfloat16, device=sys.argv[1]))
print(found or "PyTorch's paged kernel agrees with sdpa", flush=True)
raise SystemExit(bool(found))
PYTHON
    keep $((limit / 3)) "$folder/tests.txt" python3 -m pytest --confcutdir tests/gpu tests/gpu --override-ini addopts= \
        -W default -q --tb=short
    keep 60 "$folder/encoder.txt" python3 -m bench.encoder "${on[@]}" --precision bf16 --rows 1 4 --compile
    for precision in bf16 int8 nf4; do
        [ "$(left)" -gt 45 ] || { echo "no time is left for $precision"; continue; }
        # With time to end in order: the figures of a run that is killed are those until then.
        keep "$(left)" "$folder/$precision.txt" python3 -m bench.gpu --precision $precision "${on[@]}" "${work[@]}" \
            --attention $attention --seconds $(($(left) - 20)) --json "$folder/$precision.json"
    done
}

case "${1:-}" in
    wheels | measure | rehearse) "$@" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
