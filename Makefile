# The two commands of the README are `make run` and `make test`; the others serve the inner loop.
# T=FuzzName and TIME=60s choose a fuzz target and its duration for `make fuzz`.
export CGO_ENABLED ?= 0
GO      ?= go
DATA    ?= ./data
ADDRESS ?= 127.0.0.1:9000
TIME    ?= 60s

.PHONY: build run check test soak figures fuzz yardstick clients clean

build:
	$(GO) build -trimpath -o holdfast ./cmd/holdfast

run: build
	./holdfast server --address $(ADDRESS) $(DATA)

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these files"; exit 1; }
	$(GO) vet ./...
	$(GO) test -short -timeout 110s ./...

test:
	tests/run

clients:
	tests/clients/install

soak: build clients
	HOLDFAST_SOAK=1 $(GO) test -timeout 6h -count=1 ./tests/...

figures: build
	tests/figures

yardstick:
	tests/yardstick/run

fuzz:
	@test -n "$(T)" || { echo "name a target: make fuzz T=FuzzChunkReader; the targets are:"; grep -rhoE '^func Fuzz[A-Za-z]+' --include=*_test.go . | sed 's/^func /  /' | sort; exit 2; }
	tests/fuzz $(T) $(TIME)

clean:
	rm -f holdfast
