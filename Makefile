# The everyday commands. "make" alone lists them. Nothing here needs more than Go, git, bash and make; buf and the linters
# are built from tools/go.mod, protoc-gen-go and protoc-gen-sw4rm from go.mod.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

TOOL := go tool -modfile=$(CURDIR)/tools/go.mod
BUF := $(TOOL) buf
# Folders with a buf.gen.yaml. golden/ is checked and written by its own test.
GENERATED := . examples/review examples/torture
# Modules besides the one in the root.
MODULES := $(patsubst %/go.mod,%,$(wildcard tools/go.mod bench/go.mod protoc-gen-sw4rm-docs/go.mod buf-plugin-sw4rm/go.mod))
# The race detector needs a C compiler.
CC_FOUND := $(shell command -v "$$(go env CC | cut -d' ' -f1)" 2>/dev/null)
RACE := $(if $(CC_FOUND),-race)
FUZZTIME ?= 10s
# How often fuzz-short executes each of its targets.
FUZZEXECS ?= 100000
# A drawn sequence that fails is told with its seed; nothing is written into the tree.
export RAPID_NOFAILFILE := true
# How many times the short form "make torture" does, and the seed that it begins with.
SCALE ?= 50
SEED ?= 1
# How often "make race" runs each test.
COUNT ?= 3
BENCH ?= .
ARGS ?=

# Reads what "go test -v" says: of a package that failed it prints everything, and of one that passed the last line, and
# the lines that match the second argument when the package's path matches the first.
told = awk -v of='$(1)' -v show='$(2)' ' \
  /\[no test files\]$$/ { next } \
  { line[n++] = $$0 } \
  /^ok[ \t]/ { for (i = 0; i < n; i++) if (i == n-1 || $$2 ~ of && line[i] ~ show) print line[i]; n = 0; fflush() } \
  /^FAIL\t/ { for (i = 0; i < n; i++) print line[i]; n = 0; fflush() } \
  END { for (i = 0; i < n; i++) print line[i] }'

.PHONY: help
help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Run the code review example while its processes are killed, and count what became of every message.
	@echo "Building the demo's driver: seconds, or half a minute where Go's standard library was never compiled."
	@go run ./examples/review/demo $(ARGS)

.PHONY: generate
generate: ## Write the generated code of the schemas in proto/ and examples/.
	@for dir in $(GENERATED); do echo "buf generate in $$dir"; (cd "$$dir" && $(BUF) generate); done

.PHONY: golden
golden: ## Write what the generator says now into golden/.
	go test ./golden -update
	go test ./protoc-gen-sw4rm/plugin -run TestCase -update

.PHONY: test
test: vet lint tidy generated unit models fuzz-short faults outside demo ## Run the whole check.
	@echo "make test: everything passed"

.PHONY: unit
unit: ## Run the tests, with the race detector where there is a C compiler; the campaigns over processes say their counts.
	@echo "== go test $(RACE) ./...$(if $(RACE),, (WITHOUT the race detector: no C compiler was found))"
	@$(if $(RACE),RAPID_CHECKS=5) go test -v $(RACE) -timeout 30m ./... | $(call told,/internal/e2e$$,^--- PASS: Test($(PROCESSES)) |$(COUNTS))
	@go test -run '^TestFit$$' $(MUTANTS)
	@for m in $(filter-out bench,$(MODULES)); do (cd $$m && go test ./... | { grep -v 'no test files' || true; }); done

.PHONY: race
race: ## Run the tests COUNT (3) times in a drawn order, with the race detector.
	RAPID_CHECKS=5 go test -race -shuffle=on -count=$(COUNT) -timeout 0 $(ARGS) ./... | { grep -v 'no test files' || true; }

# What the race detector would slow down too much, without it; "make unit" runs a share of it with it.
FAULTS := ./cmd/sw4rm/internal/storagefault

.PHONY: faults
faults: ## Cut the power, fail the disk and damage files under buffer and queue: the short forms, with their counts.
	@echo "== faults"
	@go test -v $(FAULTS) | $(call told,.,image|found by|^---|repeat:|_test.go)

# The campaigns over processes and sockets, what they say of themselves, and the sequences that are drawn against models.
PROCESSES := Kill|CutOff|Stop|Pause|Mixed|Network|NetworkCanonical|LostDirectory
COUNTS := _test.go:[0-9]+: ([0-9]+ (operations|directories) |settled after|between faults|repeat with)
SEQUENCES := -run '^TestSequences$$' ./runtime/activity ./runtime/agent ./services/queue/kv

.PHONY: torture torture-storage torture-processes torture-sequences torture-fuzz
torture: torture-storage torture-sequences torture-fuzz torture-processes ## Do SCALE (50) times what "make test" does in its campaigns; torture-storage begins from seed SEED (1).

torture-storage:
	SW4RM_TORTURE=$(SCALE) SW4RM_SEED=$(SEED) go test -v -count=1 -timeout 0 $(ARGS) $(FAULTS)

torture-processes:
	go test -v -count=$(SCALE) -timeout 0 $(ARGS) -run '^Test($(PROCESSES))$$' ./cmd/sw4rm/internal/e2e

torture-sequences:
	go test -v -count=1 -timeout 0 $(ARGS) $(SEQUENCES) -rapid.checks=$$((100 * $(SCALE))) -rapid.nofailfile

torture-fuzz:
	@$(MAKE) fuzz-short FUZZEXECS=$$((100000 * $(SCALE)))

.PHONY: models
models: ## Draw sequences and hold them against models, and send bad input: the short forms, with their counts.
	@echo "== models, bad input"
	@go test -v $(SEQUENCES) | $(call told,.,sequences of|^---)
	@go test -v ./cmd/sw4rm/internal/badinput | $(call told,.,rows|^---)

# Planted bugs are tests behind a build tag.
MUTANTS := -tags mutants ./cmd/sw4rm/internal/mutants

.PHONY: mutants
mutants: ## Plant bugs one at a time, and fail when a campaign lets one pass.
	@go test -v -count=1 -timeout 0 $(ARGS) $(MUTANTS) | { grep -vE '^=== ' || true; }

.PHONY: vet
vet: ## Run gofmt and go vet.
	@echo "== gofmt, go vet"
	@files="$$(gofmt -l .)"; if [ -n "$$files" ]; then echo "not formatted; run gofmt -w on:"; echo "$$files"; exit 1; fi
	@go vet ./...
	@go vet $(MUTANTS)
	@for m in $(MODULES); do (cd $$m && go vet ./...); done

.PHONY: lint
lint: ## Run staticcheck, buf lint and buf format.
	@echo "== staticcheck"
	@$(TOOL) staticcheck ./...
	@for m in $(MODULES); do (cd $$m && $(TOOL) staticcheck ./...); done
	@echo "== buf lint, buf format"
	@$(BUF) lint
	@$(BUF) format --diff --exit-code

.PHONY: tidy
tidy: ## Check that the go.mod files are tidy.
	@echo "== go mod tidy"
	@go mod tidy -diff
	@for m in $(MODULES); do (cd $$m && go mod tidy -diff); done

.PHONY: generated
generated: ## Check that the committed generated code is current. The work tree stays as it is.
	@echo "== generated code"
	@mkdir -p .tmp/bin && cd tools && go build -o ../.tmp/bin/checkgenerated ./checkgenerated
	@.tmp/bin/checkgenerated -buf "$(BUF)" $(GENERATED)

.PHONY: outside
outside: ## Do what README.md and the other plugins' say in a module outside of this repository, with and without managed mode.
	@echo "== README.md in a module of its own"
	@mkdir -p .tmp/bin && go build -modfile=tools/go.mod -o .tmp/bin/buf github.com/bufbuild/buf/cmd/buf
	@cd tools && go build -o ../.tmp/bin/outside ./outside
	@.tmp/bin/outside -buf .tmp/bin/buf .

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (10s).
	@for m in . $(filter-out bench tools,$(MODULES)); do \
	  for pkg in $$(cd $$m && go list ./...); do \
	    for f in $$(cd $$m && go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	      echo "== $$pkg $$f"; \
	      (cd $$m && go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg); \
	    done; \
	  done; \
	done

# What decodes what came over a network or lay on a disk.
DECODERS := runtime/envelope/FuzzEnvelope runtime/envelope/FuzzParseContentType runtime/ack/FuzzParse runtime/activity/FuzzRecords \
  services/queue/kv/FuzzRecords services/router/FuzzConnect runtime/agent/FuzzDispatch

.PHONY: fuzz-short
fuzz-short: ## Fuzz each decoder FUZZEXECS (100000) times.
	@echo "== fuzz"
	@mkdir -p .tmp
	@for f in $(DECODERS); do \
	  printf '%-40s ' "$$f"; \
	  go test -run '^$$' -fuzz "^$${f##*/}$$" -fuzztime $(FUZZEXECS)x -fuzzminimizetime 10x ./$${f%/*} > .tmp/fuzz.log 2>&1 \
	    || { cat .tmp/fuzz.log; exit 1; }; \
	  grep -o 'elapsed: [^,]*, execs: [0-9]*' .tmp/fuzz.log | tail -1; \
	done

.PHONY: bench
bench: ## Run the benchmarks that match BENCH (all).
	@cd bench && go test -run '^$$' -bench '$(BENCH)' -benchmem $(ARGS) ./...

.PHONY: bench-plugin
bench-plugin: ## Measure the generator beside protoc-gen-go-grpc and protoc-gen-connect-go.
	@cd bench && go run ./plugin $(ARGS)
