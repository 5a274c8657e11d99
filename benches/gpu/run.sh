#!/usr/bin/env bash
# Proves and measures Syrinx on this machine's NVIDIA GPU, from the root of the repository's files: `run.sh [MINUTES [PART..]]`,
# 9 minutes and all parts without them. `make gpu` bundles this script with the programs that it runs; it needs CUDA's driver,
# NVRTC and headers, and no cargo; Python with PyTorch and NumPy for what is measured beside, compute-sanitizer and CUPTI for
# what they tell. A part that cannot run is told and left out, those after it go on. OUT is the folder for what comes of it:
# `results.md`, `results.json` and `logs.tar.gz`, none of them large. SYRINX_GPU names another GPU than the first; CHUNKS and
# CONTEXTS, in ms, and STREAMS say which of these are timed; DRY, set to anything, goes through everything on the processor, a
# chunk of each. Fails if a part does, or is not run.
set -um
bundle="$(cd "$(dirname "$0")" && pwd)"
minutes="${1:-9}"
wanted=("${@:2}")
out="${OUT:-benches/results/gpu}"
export SYRINX_GPU="${SYRINX_GPU:-0}"
# What a second run on the same machine finds again: programs, compiled kernels, weights.
kept="${SYRINX_GPU_KEPT:-/tmp/syrinx-gpu}"
logs="$(mktemp -d)"
mkdir -p "$out" "$kept"
export XDG_CACHE_HOME="$kept/cache" OUT="$out" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
seconds=$((minutes * 60 - 8))
for program in syrinx gpu kernels; do
  gzip -dc "$bundle/$program.gz" >"$kept/$program" && chmod +x "$kept/$program" || echo "$program is not in the bundle"
done
device="cuda:$SYRINX_GPU"
python="$(command -v python3)"
[ -n "${SYRINX_GPU_PYTHON:-}" ] && python="$SYRINX_GPU_PYTHON"
chunks="${CHUNKS:-20,60,100,250,10}"
contexts="${CONTEXTS:-1000,2500}"
streams="${STREAMS:-1,2,4,8,12,16,24,32,48,64}"
if [ -n "${DRY:-}" ]; then
  device=cpu
  unset SYRINX_GPU
  chunks=20
  contexts=200
fi

# Whatever happens, what there is so far becomes the results.
finish() {
  for running in $(jobs -p); do kill -TERM -- "-$running" 2>/dev/null; done
  # A log is never larger than a few MB; of one that is, the end counts.
  for log in "$logs"/*; do
    [ -f "$log" ] && [ "$(stat -c %s "$log")" -gt 2000000 ] && tail -c 2000000 "$log" >"$log.end" && mv "$log.end" "$log"
  done
  tar -czf "$out/logs.tar.gz" -C "$logs" .
  "$python" benches/gpu/report.py "$logs" "$out" "$(cat "$bundle/commit")" || cat "$logs"/parts.tsv
  rm -rf "$logs"
}
trap finish EXIT
trap 'exit 1' INT TERM

failed=0
say() { printf '%s\t%s\t%s\n' "$@" | tee -a "$logs/parts.tsv"; }
# part NAME SECONDS COMMAND...: runs it within what is left of the time, and tells what came of it.
part() {
  local name="$1" most="$2" left=$((seconds - SECONDS)) began="$SECONDS" code
  shift 2
  if [ "${#wanted[@]}" -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
  if [ "$left" -lt 4 ]; then
    say "$name" "not run: the time was up" ""
    failed=1
    return
  fi
  # A processor takes longer.
  [ -n "${DRY:-}" ] && most=$((most * 10))
  [ "$left" -lt "$most" ] && most="$left"
  # Each in a process group of its own, which ends as one when its time is up.
  ("$@") >"$logs/$name.log" 2>&1 &
  local running=$!
  (sleep "$most" && kill -TERM -- "-$running" && sleep 2 && kill -KILL -- "-$running") 2>/dev/null &
  local clock=$!
  { wait "$running"; } 2>/dev/null
  code=$?
  kill -TERM -- "-$clock" 2>/dev/null
  wait "$clock" 2>/dev/null
  case "$code" in
    0) say "$name" passed "$((SECONDS - began))" ;;
    3) say "$name" "not run: $(tail -1 "$logs/$name.log")" "" ;;
    143 | 137) say "$name" "cut off" "$((SECONDS - began))" ;;
    *) say "$name" "failed, $code: $(grep -aE 'panicked|^error|Error' "$logs/$name.log" | head -1 | cut -c1-200)" "$((SECONDS - began))" ;;
  esac
  [ "$code" = 0 ] || failed=1
}
# Ends a part that needs what is not there.
without() { echo "$1" && exit 3; }
# Ends a part that had nothing to do.
of_a_gpu() { [ -z "${DRY:-}" ] || without "it needs a GPU"; }
# quick NUMBER: so many, or one in a dry run.
quick() { [ -n "${DRY:-}" ] && echo 1 || echo "$1"; }

networks() { "$kept/gpu" --test-threads=1 --nocapture "$@" && of_a_gpu; }
# Kernels for the processor's stand-in are built there: what needs the compiler is left out.
kernels() { "$kept/kernels" --test-threads=1 --skip nvcc:: --skip sanitized:: --skip proof:: --skip speed::on "$@"; }
speed() { "$kept/kernels" --nocapture speed::on && of_a_gpu; }
sanitized() {
  command -v compute-sanitizer >/dev/null || without "there is no compute-sanitizer"
  local tests shard running=() code=0
  mapfile -t tests < <("$kept/kernels" --list --format terse | sed -n 's/: test$//p' | grep -vE '^(nvcc|sanitized|proof|device|speed)::')
  [ "${#tests[@]}" -ge 8 ] || without "the kernels' tests are not listed"
  # The tool works one launch at a time on a core: eight processes check more in a minute.
  for shard in 0 1 2 3 4 5 6 7; do
    # shellcheck disable=SC2046 # Names hold no spaces.
    compute-sanitizer --tool "$1" --error-exitcode 9 "$kept/kernels" --test-threads=1 --exact \
      $(printf '%s\n' "${tests[@]}" | sed -n "$((shard + 1))~8p") &
    running+=($!)
  done
  for shard in "${running[@]}"; do wait "$shard" || code=$?; done
  return "$code"
}
bench() { "$kept/syrinx" bench -v --device "$device" --json "$@"; }
# rows FILE ARGUMENTS...: figures to the file, lines as they come to the log.
rows() { bench "${@:2}" >"$logs/$1.json"; }
# What follows, with the networks by burn's kernels.
by_burn() {
  of_a_gpu
  local device="$device+burn"
  "$@"
}
full=(--index-rows 20000)
seeded=(--voice "$kept/weights/voice.pth" --encoder "$kept/weights/hubert" --pitch-model "$kept/weights/rmvpe.pt")
joe=(--voice models/default/joe.pth --encoder models/default/encoder --index models/default/units.index)
# A processor takes seconds for a chunk of full size.
[ -n "${DRY:-}" ] && full=("${joe[@]}")
torch() {
  "$python" -c 'import torch, numpy, safetensors' || without "Python has no torch, numpy or safetensors"
  "$python" benches/gpu/torch_chunks.py --weights "$kept/weights" --device "$device" "$@"
}
beside() {
  [ -f "$kept/weights/voice.pth" ] || without "the part weights made none"
  rows "$1" "${seeded[@]}" "${@:2}"
}
soak() {
  local left=$((seconds - SECONDS - 20))
  # As many chunks as an hour has, or what the time allows.
  rows soak "${full[@]}" --chunks 250 --contexts 1000 --repeat "$(quick 14400)" --at-most "$((left > 1 ? left : 1))"
}
launches() {
  local cupti
  cupti="$(find / -name 'libcupti.so*' -not -path '/proc/*' -print -quit 2>/dev/null)"
  [ -n "$cupti" ] || without "there is no CUPTI"
  of_a_gpu
  local chunks
  for chunks in 10 40; do
    SYRINX_CUPTI="$cupti" CUDA_INJECTION64_PATH="$bundle/launches.so" SYRINX_LAUNCHES="$logs/launches-$chunks.txt" \
      "$kept/syrinx" bench --device "$device" --chunks 20 --contexts 1000 --repeat "$chunks" "${full[@]}" || return
    [ -s "$logs/launches-$chunks.txt" ] || without "CUPTI counted nothing"
  done
}
about() {
  command -v nvidia-smi >/dev/null || echo "a machine without nvidia-smi"
  nvidia-smi --query-gpu=name,driver_version,memory.used,memory.total,clocks.sm,clocks.max.sm --format=csv,noheader 2>/dev/null
  "$kept/syrinx" doctor
}
convert() {
  "$kept/syrinx" convert examples/data/inaugural.wav -o "$logs/gpu.wav" --force --noise zero --pitch 0 --f0 swift \
    --device "$device" --report "$logs/convert.json"
}

# In the order of what is worth most; the times are the most each may take.
part about 8 about
part kernels 45 kernels
part encoder-small 20 networks hubert_small
part recording 40 networks a_recording
part voice-full 20 networks voice_full
part encoder-full 15 networks hubert_full
part rmvpe-full 15 networks rmvpe_full
part chunks 60 rows chunks "${full[@]}" --repeat "$(quick 200)" --chunks "$chunks" --contexts "$contexts"
part chunks-reduced 60 rows chunks-reduced "${full[@]}" --precision reduced --repeat "$(quick 200)" --chunks "$chunks" \
  --contexts "$contexts"
part weights 45 torch --only-weights
part torch 75 torch --repeat "$(quick 50)" --chunks "$chunks" --contexts "$contexts" --json "$logs/torch.json"
part beside 45 beside beside --precision reduced --repeat "$(quick 50)" --chunks "$chunks" --contexts "$contexts"
part beside-full 45 beside beside-full --repeat "$(quick 50)" --chunks "$chunks" --contexts "$contexts"
part streams 90 rows streams "${full[@]}" --precision reduced --repeat "$(quick 100)" --chunks 60 --contexts 1000 \
  --streams "$streams" --at-most 8
part chunks-burn 75 by_burn rows chunks-burn "${full[@]}" --repeat 50 --chunks "$chunks" --contexts "$contexts"
part speed 30 speed
part launches 30 launches
part stream 10 networks a_stream
part chunks-joe 30 rows chunks-joe "${joe[@]}" --repeat "$(quick 50)" --chunks "$chunks" --contexts "$contexts"
part operations 15 networks strategies::
part others 40 networks --skip a_recording --skip a_stream --skip voice_full --skip hubert_full --skip rmvpe_full \
  --skip strategies:: --skip hubert_small
part convert 15 convert
part memcheck 60 sanitized memcheck
part racecheck 90 sanitized racecheck
part initcheck 60 sanitized initcheck
part soak 3600 soak
echo "done after $SECONDS s of $((minutes * 60))"
exit "$failed"
