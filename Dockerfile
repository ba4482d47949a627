# Two ways to the same image. With nothing to pull, from the binary of this
# machine: `make image` (target local, context .image). Where images can be
# pulled: docker build -t holdfast .
FROM scratch AS local
COPY rootfs/ /
USER 65532:65532
ENTRYPOINT ["/holdfast"]
CMD ["server", "/data"]

FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /rootfs/holdfast ./cmd/holdfast && mkdir -m 1777 /rootfs/data

FROM scratch AS holdfast
COPY --from=build /rootfs/ /
USER 65532:65532
ENTRYPOINT ["/holdfast"]
CMD ["server", "/data"]
