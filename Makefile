# make run    installs what is missing (Debian), builds, and runs the demonstration
# make test   installs what is missing, and runs every test, those that boot machines too
# make azsim  builds the simulated Azure that `understudy demo azure` plays in
# make web    builds the web console into the program (with npm; `make build` does it when npm is there)
# make check  static checks and cross-compilation
# make chaos  breaks everything at random; SEED=n repeats, OPERATIONS=n searches longer
# make bench  measures against restic, borg and qemu-img; ONLY=azure measures that alone, and installs nothing

GO      ?= go
GUEST   := $(CURDIR)/.cache/guest
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export UNDERSTUDY_GUEST_DIR := $(GUEST)
export GO

VERSITYGW   := github.com/versity/versitygw/cmd/versitygw@v1.8.0
AZURITE     := azurite@3.37.0
OIDC        := oidc-provider@9.13.3
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.3.0
PLATFORMS   := linux/arm64 darwin/arm64 windows/amd64

# Packages whose tests run whole programs and machines: the race detector would watch only the test itself there.
WITHOUT_RACE := ^understudy/(cmd|test)(/|$$)

.PHONY: all setup go build web azsim tools guest run test check vet fmt house lint vuln cross bench chaos clean

all: build

setup:
	@sh scripts/setup-debian.sh all

go:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/doc/install" >&2; exit 1; }

build: go
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web; else echo "build: without the web console, since npm is missing"; fi
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/understudy ./cmd/understudy

# The web console's files, which the program embeds. Built again when its sources, or the API that its types are made of, are newer.
web: go web/dist/index.html

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/scripts internal/api -type f -not -name schema.d.ts -not -name '*_test.go' 2>/dev/null) \
		web/index.html web/vite.config.ts web/tsconfig.json web/package.json
	npm --prefix web run --silent build

web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web ci --loglevel=error
	@touch $@

# The simulated Azure, for `understudy demo azure`.
azsim: go
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/azsim ./test/azsim

# What tests run against: an S3 server, Azure's emulator of blobs, and a provider of identities.
tools: go
	@[ -x .cache/bin/versitygw ] || { echo "tools: $(VERSITYGW)"; CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin $(GO) install $(VERSITYGW); }
	@[ -d .cache/azurite/node_modules/azurite ] || { echo "tools: $(AZURITE)"; mkdir -p .cache/azurite; \
		npm install --prefix .cache/azurite --no-audit --no-fund --ignore-scripts --loglevel=error $(AZURITE); }
	@[ -d .cache/oidc/node_modules/oidc-provider ] || { echo "tools: $(OIDC)"; mkdir -p .cache/oidc; \
		npm install --prefix .cache/oidc --no-audit --no-fund --ignore-scripts --loglevel=error $(OIDC); }

guest: go
	@$(GO) run ./internal/demo/guest/cmd/mkguest $(GUEST)

run: go
	@sh scripts/setup-debian.sh run
	@$(MAKE) --no-print-directory build guest
	bin/understudy demo

test: go
	@sh scripts/setup-debian.sh test
	@$(MAKE) --no-print-directory guest tools web
	$(GO) vet ./...
	@UNDERSTUDY_TEST_ALL=1 $(GO) run ./test/summary \
		-- $(GO) test -json -race -p 2 -timeout 15m $$($(GO) list ./... | grep -Ev '$(WITHOUT_RACE)') \
		-- $(GO) test -json -p 1 -timeout 15m $$($(GO) list ./... | grep -E '$(WITHOUT_RACE)')

check: go
	@rm -f .cache/not-checked
	@$(MAKE) --no-print-directory fmt vet house lint vuln cross
	@if [ -e .cache/not-checked ]; then cat .cache/not-checked; else echo "check: all passed"; fi

fmt: go
	@bad=$$(gofmt -l cmd internal test web/*.go 2>/dev/null); [ -z "$$bad" ] || { echo "not formatted: gofmt -w" $$bad >&2; exit 1; }

vet: go
	$(GO) vet ./...

house: go
	$(GO) test ./test/house

# These two are fetched, not installed; scripts/fetched.sh says what happens when they cannot be.
lint: go
	@sh scripts/fetched.sh $(STATICCHECK) ./...

vuln: go
	@sh scripts/fetched.sh $(GOVULNCHECK) ./...

cross: go
	@for p in $(PLATFORMS); do echo "cross-compile $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./cmd/understudy || exit 1; done

# What is measured in the simulated Azure alone needs neither the program nor other tools.
comma := ,
bench: go
	@[ -n "$(ONLY)" ] || sh scripts/setup-debian.sh all
	@$(if $(filter-out azure%,$(subst $(comma), ,$(or $(ONLY),all))),$(MAKE) --no-print-directory build $(if $(ONLY),,guest))
	$(GO) run ./test/bench $(if $(ONLY),-only $(ONLY))

chaos: go
	$(GO) run ./test/chaos $(if $(SEED),-seed $(SEED)) -operations $(or $(OPERATIONS),400)

clean:
	rm -rf bin .cache web/node_modules
	find web/dist -mindepth 1 -not -name .keep -delete
