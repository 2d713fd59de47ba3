# make demo    raise the practice labs, audit them, print the reports
# make test    install what the tests need where it is missing, then run everything
# make test-vm what needs a kernel of its own, in virtual machines
# make bench   figures, each beside its alternative, in one run
# make lint    gofmt, go vet, golangci-lint
# make build   bin/lockaudit, bin/lockaudit-agent, bin/locklab
# make examples  the applications of examples/, for their labs

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
# Static, so that the agent runs on any Linux it is copied to.
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)"

.PHONY: build demo test test-vm lint bench bench-deps fuzz clean deps vm-deps

build:
	@mkdir -p bin
	$(BUILD) -o bin/lockaudit ./cmd/lockaudit
	$(BUILD) -o bin/lockaudit-agent ./cmd/lockaudit-agent
	$(BUILD) -o bin/locklab ./cmd/locklab

# The applications of examples/, beside locklab, which runs them in labs of their own.
.PHONY: examples
examples: node-deps
	@mkdir -p bin/examples/job bin/examples/migrate
	cd examples/job && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/examples/job/billing .
	cd examples/migrate && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/examples/migrate/migrate .
	rm -rf bin/examples/inventory bin/examples/migrate/sql
	cp -r examples/migrate/sql bin/examples/migrate/sql
	cp -r examples/inventory bin/examples/inventory

demo: build
	./bin/locklab demo

# What the tests need and Go does not bring: a Redis, PostgreSQL's programs (the cluster
# that the package starts is left alone), ZooKeeper's library and a Java, a browser that looks at the reports, what reads
# the printed ones, a systemd whose units are disturbed, and what the examples in other
# languages run on.
deps: node-deps ssh-deps
	@for p in redis-server chromium strace; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	command -v pdftotext >/dev/null || missing="$$missing poppler-utils"; \
	test -x /lib/systemd/systemd || missing="$$missing systemd"; \
	command -v gcc >/dev/null && test -f /usr/include/stdio.h || missing="$$missing gcc libc6-dev"; \
	command -v java >/dev/null || missing="$$missing default-jre-headless"; \
	test -f /usr/share/java/zookeeper.jar || missing="$$missing libzookeeper-java"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "make: missing; run: sudo apt-get install$$missing" >&2; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing fonts-dejavu-core; }

# Each example in Go is a module of its own, as a user has it who copies its folder.
GO_EXAMPLES = $(dir $(wildcard examples/*/go.mod examples/*/*/go.mod))

# The examples in Node: npm installs exactly what their package-lock.json names.
NODE_EXAMPLES = $(dir $(wildcard examples/*/package.json examples/*/*/package.json))
.PHONY: node-deps
node-deps:
	@for p in npm node; do command -v $$p >/dev/null || missing="npm nodejs"; done; \
	test -x /usr/bin/python3 || missing="$$missing python3"; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "make: missing; run: sudo apt-get install $$missing" >&2; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; }
	@for d in $(NODE_EXAMPLES); do \
	  test $$d/node_modules/.package-lock.json -nt $$d/package-lock.json || (cd $$d && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json) || exit 1; done

# A real ssh with sudo behind it. The sshd is unpacked into the user's cache and not
# installed: it would listen on this machine.
SSHD = $${XDG_CACHE_HOME:-$$HOME/.cache}/lockaudit/sshd
.PHONY: ssh-deps
ssh-deps:
	@for p in sudo ssh:openssh-client ip:iproute2; do command -v $${p%:*} >/dev/null || missing="$$missing $${p#*:}"; done; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "make: missing; run: sudo apt-get install$$missing" >&2; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; }
	@test -x /usr/sbin/sshd -o -x "$(SSHD)/usr/sbin/sshd" || { \
	  test "$$(id -u)" != 0 || apt-get update -q; agent/sshtest/fetch.sh "$(SSHD)"; }

test: deps
	$(GO) vet ./...
	for m in $(GO_EXAMPLES); do (cd $$m && $(GO) vet ./...) || exit 1; done
	GOARCH=arm64 $(GO) vet ./agent/... ./inject/... ./cmd/lockaudit-agent
	$(GO) test -timeout 20m ./...

# What the virtual machines need: qemu, and kernels and NTP clients that are unpacked into
# the user's cache and not installed; the clients run on this machine's libraries.
vm-deps:
	@PATH=$$PATH:/usr/sbin:/sbin; \
	command -v qemu-system-x86_64 >/dev/null || missing="qemu-system-x86"; \
	command -v mkfs.ext4 >/dev/null || missing="$$missing e2fsprogs"; \
	for l in bsd0:libbsd.so.0 cap2:libcap.so.2 edit2:libedit.so.2 gnutls30:libgnutls.so.30 seccomp2:libseccomp.so.2 ssl3:libssl.so.3; do \
	  ldconfig -p | grep -q "$${l#*:} " || missing="$$missing lib$${l%%:*}"; done; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "make: missing; run: sudo apt-get install $$missing" >&2; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; }
	lab/vm/fetch.sh "$${LOCKAUDIT_VM:-$${XDG_CACHE_HOME:-$$HOME/.cache}/lockaudit/vm}"

# One test at a time: an interpreted machine takes a whole core. VMFLAGS='-runs 20' has
# them run 20 times; its summary says how often each passed, and how long it took.
VMFLAGS ?=
VMTESTS = ./lab/vm ./inject/partition ./inject/degrade ./inject/nodeclock ./cmd/lockaudit-agent
test-vm: deps vm-deps
	$(GO) vet -tags vm $(VMTESTS)
	$(GO) run ./lab/vm/tests $(VMFLAGS) $(VMTESTS)

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2 run

# What the figures compare with.
bench-deps: deps
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing=faketime; \
	PATH=$$PATH:/usr/sbin; command -v nft >/dev/null || missing="$$missing nftables"; \
	command -v iptables-restore >/dev/null || missing="$$missing iptables"; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "make: missing; run: sudo apt-get install $$missing" >&2; exit 1; }; \
	  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; }

bench: build bench-deps vm-deps
	$(GO) run ./bench

FUZZTIME ?= 20s
fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; done; done

clean:
	rm -rf bin runs
