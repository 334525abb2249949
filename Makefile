# One name per check, for people; `make ci` and the machines run .ci/run, which runs them all.
.DEFAULT_GOAL := help
SHELL := bash
TIME ?= 10s
BENCHTIME ?= 1s
SOAK ?= 50s

# Tests with containers on an engine without a registry, or on a machine that is a container itself.
REAL := GATHERQ_REQUIRE=docker,redis TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build both binaries into bin/
	CGO_ENABLED=0 go build -buildvcs=auto -trimpath -o bin/ ./cmd/producer ./cmd/worker

.PHONY: test
test: ## the tests, as the README runs them
	bash .ci/readme.sh test-command

.PHONY: race
race: ## the tests with the race detector, Docker and a real Redis required
	$(REAL) go tool gotestsum -- -race -count=1 -timeout 20m ./...

.PHONY: integration
integration: ## the tests of integration/ alone, Docker and a real Redis required
	$(REAL) go tool gotestsum -- -count=1 -timeout 20m ./integration/...

.PHONY: demo
demo: ## the demo, as the README runs it
	bash .ci/readme.sh demo-command

.PHONY: oracle
oracle: ## the asyncio scenarios, on the embedded and on a real Redis
	bash .ci/oracle.sh

.PHONY: mutants
mutants: ## plants faults in a copy of the tree: each must turn its test red
	go run ./integration/mutants

.PHONY: chaos
chaos: ## the tests of the fault matrix, and a table of what came of them (ROWS="F1 F9", HAND=-hand for the long forms)
	$(REAL) go run ./integration/chaos $(HAND) $(ROWS)

.PHONY: soak
soak: ## processes under load and random faults for SOAK (50s); GATHERQ_SEED repeats a run
	$(REAL) GATHERQ_SOAK=$(SOAK) go test ./integration -run '^TestSoak$$' -count=1 -v -timeout 3h

.PHONY: fuzz
fuzz: ## each fuzz function for TIME (10s)
	bash .ci/fuzz.sh $(TIME)

.PHONY: bench
bench: ## the benchmarks of the packages, each for BENCHTIME (1s), and producer bench --quick
	bash .ci/bench.sh $(BENCHTIME)

.PHONY: performance
performance: ## docs/performance.md and its chart, from the raw samples in bench/results
	go run ./bench/performance

REDIS ?= redis://127.0.0.1:7391
.PHONY: profiles
profiles: build ## where the time of round trips, single tasks and long members goes, on REDIS, as text in bench/results/profiles
	dir=$$(mktemp -d) && bin/producer bench --redis $(REDIS) --only round-trip,single-256,gather-100ms --rounds 1 --profiles $$dir && \
	mkdir -p bench/results/profiles && rm -f bench/results/profiles/* && \
	for f in $$dir/*.gatherq.*.pprof $$dir/gather-100ms.warm.producer.pprof $$dir/gather-100ms.warm.worker-1.pprof; do \
	  go tool pprof -top -nodecount=60 $$f > bench/results/profiles/$$(basename $$f .pprof).txt || exit; done && \
	cp $$dir/*.gatherq.redis.txt $$dir/round-trip.ping-pong.redis.txt $$dir/gather-100ms.warm.redis.txt bench/results/profiles/ && rm -r $$dir

.PHONY: fmt
fmt: ## repair formatting and what the linters can repair
	bash .ci/lint.sh --fix

.PHONY: lint
lint: ## golangci-lint and shellcheck
	bash .ci/lint.sh

.PHONY: tidy
tidy: ## gofmt, go mod tidy and verify, build, vet
	bash .ci/tidy.sh

.PHONY: weight
weight: ## what importing the libraries brings along
	bash .ci/weight.sh

.PHONY: vuln
vuln: ## known vulnerabilities in what the code calls
	bash .ci/vulncheck.sh

.PHONY: images
images: ## the container images of the tests, made where they cannot be pulled
	bash .ci/images.sh

.PHONY: compose
compose: ## the compose file from end to end
	bash .ci/compose-e2e.sh

.PHONY: up
up: ## Redis and three workers, in the foreground
	docker compose -f deploy/docker-compose.yml up --build --scale worker=3

.PHONY: ci
ci: ## everything, as the machines run it
	bash .ci/run
