#!/usr/bin/env bash
# Measures Syrinx on this machine's NVIDIA GPU, from the root of the repository's files. `make gpu` bundles this script with
# the programs that it runs; it needs CUDA's driver, NVRTC and headers, and no cargo. SYRINX_GPU names another GPU than the
# first, SYRINX_GPU_SECONDS grants more time than two minutes, OUT is the folder for logs. Fails if a part does or is not run.
set -u
bundle="$(cd "$(dirname "$0")" && pwd)"
out="${OUT:-benches/results/gpu}"
seconds="${SYRINX_GPU_SECONDS:-118}"
export SYRINX_GPU="${SYRINX_GPU:-0}"
programs="$(mktemp -d)"
trap 'rm -rf "$programs"' EXIT
mkdir -p "$out"
# Kernels are compiled here, once for all parts.
export XDG_CACHE_HOME="$programs/cache"
for program in syrinx gpu-tests; do
  gzip -dc "$bundle/$program.gz" >"$programs/$program" && chmod +x "$programs/$program" || exit 1
done

# part NAME SECONDS COMMAND...: runs it with what is left of the time, and tells what came of it.
summary="$out/summary.md"
: >"$summary"
failed=0
part() {
  local name="$1" most="$2" left=$((seconds - SECONDS)) began="$SECONDS" code
  shift 2
  if [ "$left" -lt 2 ]; then
    echo "## $name: not run, the time was up" | tee -a "$summary"
    failed=1
    return
  fi
  [ "$left" -lt "$most" ] && most="$left"
  timeout -k 1 "$most" "$@" >"$out/$name.log" 2>&1
  code=$?
  [ "$code" = 0 ] || failed=1
  {
    echo "## $name: exit $code after $((SECONDS - began)) s of $most"
    grep -E -A1 '^\| |off by|panicked|^error|^test result|^ +[0-9]+ +[0-9]+ +[0-9.]+ |^ +chunk |INFO' "$out/$name.log" |
      grep -v '^--$' | cut -c1-300 | head -40
  } | tee -a "$summary"
}
held() { local name="$1" most="$2"; shift 2; part "$name" "$most" "$programs/gpu-tests" --test-threads=1 --nocapture "$@"; }
chunks() { local name="$1" most="$2"; shift 2; part "$name" "$most" "$programs/syrinx" bench -v --device "cuda:$SYRINX_GPU" "$@"; }
joe=(--voice models/default/joe.pth --encoder models/default/encoder)

nvidia-smi --query-gpu=name,driver_version,memory.used,memory.total --format=csv,noheader 2>&1 | tee -a "$summary"
part doctor 5 "$programs/syrinx" doctor
held encoder-small 20 hubert_small
held recording 40 a_recording
held voice-full 20 voice_full
held encoder-full 15 hubert_full
held rmvpe-full 15 rmvpe_full
chunks chunks-full 20 --repeat 30 --chunks 20,100,250 --contexts 1000
held operations 15 strategies::
held stream 10 a_stream
part convert 15 "$programs/syrinx" convert examples/data/inaugural.wav -o "$out/gpu.wav" --force --noise zero --pitch 0 \
  --f0 swift --device "cuda:$SYRINX_GPU" --report "$out/gpu.json"
held smaller 25 --skip a_recording --skip a_stream --skip _full --skip strategies:: --skip hubert_small
chunks chunks-small 15 --repeat 50 --chunks 10,20,60,100,250 --contexts 1000,2500 "${joe[@]}"
chunks chunks-full-all 60 --repeat 50 --chunks 10,60,20,100,250 --contexts 1000,2500
echo "## done after $SECONDS s; logs are in $out"
exit "$failed"
