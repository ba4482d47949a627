# The two commands of the README are `make run` and `make test`; the others serve the inner loop.
# T=FuzzName and TIME=60s choose a fuzz target and its duration for `make fuzz`.
export CGO_ENABLED ?= 0
GO      ?= go
DATA    ?= ./data
ADDRESS ?= 127.0.0.1:9000
TIME    ?= 60s

.PHONY: build run check test soak figures fuzz yardstick clients image up down clean

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

# The image holds one static binary and nothing else; nothing is pulled.
image: build
	rm -rf .image && mkdir -p .image/rootfs && mkdir -m 1777 .image/rootfs/data && cp holdfast .image/rootfs/
	docker build -q -t holdfast --target local -f Dockerfile .image

# A cluster in containers: docker-compose.yml. The secret and root's credentials
# are made once and kept in .env.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo "docker compose" || echo docker-compose)

# .env decides, whatever a shell that ran a server before has exported.
COMPOSED = env -u HOLDFAST_CLUSTER_SECRET -u HOLDFAST_ROOT_USER -u HOLDFAST_ROOT_PASSWORD $(COMPOSE)

up: image
	@test -f .env || (umask 077; ./holdfast init --env > .env)
	$(COMPOSED) up -d
	@echo "S3 at http://127.0.0.1:9000 and http://127.0.0.1:9002; credentials are in .env"

down:
	$(COMPOSED) down

clean:
	rm -rf holdfast .image
