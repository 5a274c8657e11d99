# The two commands of the README are `make demo` and `make test`; both only call cargo.

CARGO ?= cargo

.PHONY: demo test packages lint bench bench-peer test-reference

# Converts a bundled clip and leaves the audio, a figure and a report in `out/`.
demo:
	$(CARGO) run --release --locked --example demo

# All tests. Needs nothing but cargo and a C linker.
test: packages
	$(CARGO) test --locked

# Installs what a bare Debian lacks, where that is possible: a C linker.
packages:
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y --no-install-recommends gcc libc6-dev; }

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

bench:
	$(CARGO) bench --locked
