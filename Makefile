# make            build everything, optimised
# make demo       (root) see a tunnel carry IPv6 through NAT, on networks made for it
# make test       the whole suite; as root, with networks and other people's WireGuard
# make simulate-nightly   5,000 simulated worlds with new seeds: FROM=1 COUNT=5000 choose them
# make fuzz       TARGET=message TIME=60: coverage-guided fuzzing of one target for so many seconds (docs/fuzzing.md)
# make test-asan, make test-tsan   (root) the tests under the address and the thread sanitizer (docs/testing.md)
# make bench      (root) wg6 beside wireguard-go, into docs/performance.md; BENCH=--quick tries it and writes nothing
# make bench-micro    the engine's parts, one by one; MICRO='--filter seal.*' chooses
# make check-hot-path   what every packet runs through, as compiled, allocates and counts nothing
# make install    PREFIX=/usr/local DESTDIR=; makes /etc/wireguard, for root alone, where it is missing
# NO_INSTALL=1 keeps demo and test from installing Debian packages.

PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift

# The runtime goes into the binaries, so that what is tested is what gets installed, and needs no toolchain.
BUILD = $(SWIFT) build -c release --static-swift-stdlib --explicit-target-dependency-import-check error
RELEASE = $(CURDIR)/.build/release
SOURCES = Package.swift Sources Tests Fuzz Benchmarks/Package.swift Benchmarks/Benchmarks
# gold, the default, can't link libFuzzer; the targets look at the engine's inside.
FUZZ_FLAGS = --sanitize=address -Xswiftc -sanitize=fuzzer -Xswiftc -use-ld=lld -Xswiftc -enable-testing
TARGET ?= message
TIME ?= 60
BENCH ?= --write docs
MICRO ?=

configurations = $(DESTDIR)/etc/wireguard
bindir = $(DESTDIR)$(PREFIX)/bin
mandir = $(DESTDIR)$(PREFIX)/share/man
bash_completions = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
zsh_completions = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
fish_completions = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: all release check-hot-path demo test test-units test-scenarios simulate-nightly test-asan test-tsan fuzz fuzz-build fuzz-corpus bench bench-micro install uninstall format lint clean

all: release

release:
	@scripts/install-packages build
	$(BUILD)

demo:
	@[ "$$(id -u)" -eq 0 ] || { echo "make demo makes network namespaces: run it as root" >&2; exit 1; }
	@scripts/install-packages build run
	$(BUILD) --product wg6d
	$(BUILD) --product wg6
	$(BUILD) --product wg6-lab
	@$(RELEASE)/wg6-lab run demo

test: test-units test-scenarios

test-units:
	@scripts/install-packages build run
	$(SWIFT) test --skip ScenarioTests

test-scenarios: release
	@scripts/install-packages run kernel
	WG6_BIN=$(RELEASE) $(SWIFT) test --filter ScenarioTests

check-hot-path: release
	scripts/check-hot-path

FROM ?= $(shell date +%s)
COUNT ?= 5000

simulate-nightly:
	$(SWIFT) build -c release --product wg6-simulate
	$(RELEASE)/wg6-simulate --nightly --count $(COUNT) --from $(FROM)
test-asan:
	@scripts/install-packages build run
	scripts/test-sanitized address

test-tsan:
	@scripts/install-packages build run
	scripts/test-sanitized thread

fuzz-build:
	@scripts/install-packages build
	WG6_FUZZ=1 $(SWIFT) build -c release --product wg6-fuzz --scratch-path .build/fuzz $(FUZZ_FLAGS)

fuzz: fuzz-build
	@scripts/fuzz $(TARGET) $(TIME)

fuzz-corpus: fuzz-build
	@scripts/fuzz --corpus

bench: release
	@[ "$$(id -u)" -eq 0 ] || { echo "make bench makes network namespaces: run it as root" >&2; exit 1; }
	@scripts/install-packages run
	@$(RELEASE)/wg6-lab bench --json .build/bench.json $(BENCH)

# The benchmarks look at the engine's inside.
bench-micro:
	@scripts/install-packages build
	$(SWIFT) package --package-path Benchmarks -Xswiftc -enable-testing benchmark --no-progress $(MICRO)

install: release
	install -d $(bindir)
	install -s -m 755 $(RELEASE)/wg6 $(RELEASE)/wg6d $(bindir)
	@for page in docs/man/*.1 docs/man/*.5 docs/man/*.8; do \
	  [ -e "$$page" ] || continue; \
	  install -D -m 644 "$$page" "$(mandir)/man$${page##*.}/$${page##*/}"; \
	done
	[ -d "$(configurations)" ] || install -d -m 700 "$(configurations)"
	install -d $(bash_completions) $(zsh_completions) $(fish_completions)
	$(RELEASE)/wg6 --generate-completion-script bash >$(bash_completions)/wg6
	$(RELEASE)/wg6 --generate-completion-script zsh >$(zsh_completions)/_wg6
	$(RELEASE)/wg6 --generate-completion-script fish >$(fish_completions)/wg6.fish

uninstall:
	rm -f $(bindir)/wg6 $(bindir)/wg6d
	rm -f $(bash_completions)/wg6 $(zsh_completions)/_wg6 $(fish_completions)/wg6.fish
	@for page in docs/man/*.1 docs/man/*.5 docs/man/*.8; do \
	  rm -f "$(mandir)/man$${page##*.}/$${page##*/}"; \
	done

format:
	$(SWIFT) format -i -r $(SOURCES)

lint:
	$(SWIFT) format lint --strict -r $(SOURCES)
	scripts/check-comparisons
	scripts/check-messages
	scripts/mutate --check

clean:
	rm -rf .build
