package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"holdfast/cmd/observe"
	"holdfast/internal/health"
)

// observeFlags say where a role that speaks no S3 shows health and metrics.
type observeFlags struct {
	address, token string
	public         bool
}

func (o *observeFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.address, "metrics-address", "", "HOST:PORT for /-/live, /-/ready and /-/metrics over HTTP; none by default")
	f.BoolVar(&o.public, "metrics-public", false, "serve /-/metrics to anyone")
	f.StringVar(&o.token, "metrics-token", "", "bearer token for /-/metrics; better given as HOLDFAST_METRICS_TOKEN")
}

// observed is what shows its health.
type observed interface {
	role
	Ready() error
	Metrics() prometheus.Collector
}

// observer serves health and metrics of a role, also while that opens. A nil
// one serves nothing.
type observer struct {
	srv   *health.Server
	reg   *prometheus.Registry
	ended chan error
}

// open listens, before anything is made in a directory.
func (o *observeFlags) open(log zerolog.Logger) (*observer, error) {
	if o.address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", o.address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another with --metrics-address", err)
	}
	if !o.public && o.token == "" {
		log.Warn().Msg("nobody may read /-/metrics: give HOLDFAST_METRICS_TOKEN or --metrics-public")
	}
	v := &observer{reg: observe.Registry(), ended: make(chan error, 1)}
	v.srv = health.NewServer(v.reg, health.Scrapers{Public: o.public, Token: o.token}, log)
	log.Info().Str("addr", l.Addr().String()).Msg("serving health and metrics")
	go func() { v.ended <- v.srv.Serve(l) }()
	return v, nil
}

// show shows a role that has opened.
func (v *observer) show(r observed) error {
	if v == nil {
		return nil
	}
	v.srv.SetReady(r.Ready)
	return v.reg.Register(r.Metrics())
}

// Close ends the port.
func (v *observer) Close() error {
	if v == nil {
		return nil
	}
	return errors.Join(v.srv.Close(), <-v.ended)
}
