# SPDX-License-Identifier: Apache-2.0
# What people type; Meson does the work. See README.md.

PREFIX ?= /usr/local
BUILD ?= build
ninja_file = $(BUILD)/build.ninja

.PHONY: all deps install uninstall check-quick check mutations demo bench clean

programs = src/daemon/sekishod src/cli/sekisho src/guest/sekisho-init src/fetch/sekisho-fetch src/bridge/sekisho-bridge

# The programs alone; `make check` compiles the tests.
all: $(ninja_file)
	@ninja -C $(BUILD) $(programs)
	@cd $(BUILD) && ln -sf $(programs) .

# Configured once; meson itself notices later changes.
$(ninja_file):
	@QUIET=1 tools/deps build
	meson setup --prefix=$(PREFIX) $(BUILD)

deps:
	@tools/deps

# GNU's directory variables are given to Meson when they are set.
install: $(ninja_file)
	@meson configure $(BUILD) --prefix=$(PREFIX) $(if $(bindir),--bindir=$(bindir)) $(if $(sbindir),--sbindir=$(sbindir)) \
		$(if $(libexecdir),--libexecdir=$(libexecdir)) $(if $(sysconfdir),--sysconfdir=$(sysconfdir)) \
		$(if $(mandir),--mandir=$(mandir)) $(if $(datadir),--datadir=$(datadir)) $(if $(localstatedir),--localstatedir=$(localstatedir))
	@ninja -C $(BUILD)
	$(if $(DESTDIR),DESTDIR=$(abspath $(DESTDIR))) meson install --no-rebuild -C $(BUILD)

# What install has put there; a configuration stays.
uninstall: $(ninja_file)
	@ninja -C $(BUILD) uninstall

check-quick:
	@QUIET=1 tools/deps build
	@tools/check quick

check:
	@QUIET=1 tools/deps
	@tools/check all

# Each measured trap without its cure: its test must go red (doc/traps.md). Not part of `make check`.
mutations:
	@QUIET=1 tools/deps
	@tools/mutations

demo:
	@QUIET=1 tools/deps
	@tools/demo

bench: all
	@QUIET=1 tools/deps
	@bench/run

clean:
	rm -rf $(BUILD) build-asan build-mutants test-artefacts
