package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/auth"
	"holdfast/cmd/allinone"
	"holdfast/gateway"
	"holdfast/internal/vfs"
)

// serverFlags are the flags of holdfast server.
type serverFlags struct {
	address, scheme, region, config string
	tlsCert, tlsKey                 string
	domains, corsOrigins            []string
	metricsPublic, strictRegion     bool
	metricsToken, logLevel          string
	inlineLimit                     string
	catalogCopies                   int
	accessLog                       string
}

func serverCommand(hurry context.Context) *cobra.Command {
	var o serverFlags
	cmd := &cobra.Command{
		Use:   "server DIR...",
		Short: "Run a whole object store in one process",
		Long: "Runs one storage node per directory, the catalog and an S3 gateway in one process.\n" +
			"{1...8} in a directory's name stands for a range. Every flag is also HOLDFAST_NAME in\n" +
			"the environment and a key of the file given by --config; the command line wins, then the\n" +
			"environment, then the file. Root's credentials come from HOLDFAST_ROOT_USER and\n" +
			"HOLDFAST_ROOT_PASSWORD, or the same names with _FILE; without them a pair is made at the first\n" +
			"start, shown once and kept in holdfast.root in the directories.",
		Example: "  holdfast server ./data\n  holdfast server '/disk{1...4}' --address 127.0.0.1:9777",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errNoDirs
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings(cmd); err != nil {
				return err
			}
			dirs, err := expandDirs(args)
			if err != nil {
				return err
			}
			return runServer(cmd.Context(), hurry, &o, dirs, os.LookupEnv, cmd.OutOrStdout())
		},
	}
	o.register(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.scheme, "scheme", "", "redundancy, rep-N or rs-K+M; by default by the number of directories, fixed at the first start")
	f.IntVar(&o.catalogCopies, "catalog-copies", 0, "copies of the catalog: 1 to 3, by default as many as the directories allow; fewer are for benchmarks")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.config, "config", "", "YAML file with any of these flags")
	return cmd
}

// register adds the flags of whatever speaks S3.
func (o *serverFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.address, "address", ":9000", "listen address, HOST:PORT")
	f.StringVar(&o.region, "region", "us-east-1", "region that is answered; any is accepted")
	f.BoolVar(&o.strictRegion, "strict-region", false, "refuse signatures for another region")
	f.StringVar(&o.tlsCert, "tls-cert", "", "certificate file (PEM); serves https together with --tls-key")
	f.StringVar(&o.tlsKey, "tls-key", "", "private key file (PEM)")
	f.StringSliceVar(&o.domains, "domain", nil, "domain for virtual-host style, repeatable")
	f.StringSliceVar(&o.corsOrigins, "cors-origin", []string{"*"}, "origin that browsers may come from, repeatable; * for any")
	f.BoolVar(&o.metricsPublic, "metrics-public", false, "serve /-/metrics to anyone")
	f.StringVar(&o.metricsToken, "metrics-token", "", "bearer token for /-/metrics; better given as HOLDFAST_METRICS_TOKEN")
	f.StringVar(&o.inlineLimit, "inline-limit", "8KiB", "objects up to this size are kept in the catalog")
	f.StringVar(&o.accessLog, "access-log", "stdout", "where a line for each request goes: stdout, off or a file")
}

var errNoDirs = errors.New("name the directories to keep data in, one for each disk (they are made if they do not exist):\n\n" +
	"  holdfast server ./data\n  holdfast server '/disk{1...4}'\n\nholdfast server --help has the flags")

func runServer(ctx, hurry context.Context, o *serverFlags, dirs []string, env func(string) (string, bool), out io.Writer) error {
	log, err := logger(o.logLevel)
	if err != nil {
		return err
	}
	if o.catalogCopies < 0 || o.catalogCopies > 3 {
		return fmt.Errorf("--catalog-copies %d: 1, 2 or 3; leave it out for as many as the directories allow", o.catalogCopies)
	}
	gw, err := o.gatewayConfig()
	if err != nil {
		return err
	}
	listenTLS, err := o.tlsConfig(log)
	if err != nil {
		return err
	}
	limitMemory(env)
	if err := checkDescriptors(descriptors(), len(dirs), log); err != nil {
		return err
	}
	if err := probe(o.address); err != nil {
		return err
	}
	creds, created, err := rootCredentials(dirs, env)
	if err != nil {
		return err
	}
	keys, err := auth.NewStatic(creds.User, creds.Password)
	if err != nil {
		return err
	}
	access, err := openAccessLog(o.accessLog)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	started := time.Now()
	srv, err := allinone.Open(ctx, allinone.Config{FS: vfs.OS(), Dirs: dirs, Scheme: o.scheme, CatalogCopies: o.catalogCopies,
		Keys: keys, Gateway: gw, Log: log, AccessLog: access.writer()})
	if err != nil {
		return err
	}
	if created {
		if err := keepCredentials(srv.Dirs(), creds); err != nil {
			return errors.Join(err, srv.Close())
		}
	}
	ln, err := net.Listen("tcp", o.address)
	if err != nil {
		return errors.Join(fmt.Errorf("%w; choose another with --address", err), srv.Close())
	}
	greet(out, ln.Addr().String(), listenTLS != nil, creds, keptIn(srv.Dirs(), creds, created))
	log.Info().Str("addr", ln.Addr().String()).Dur("took", time.Since(started)).Strs("dirs", dirs).Msg("serving")
	if listenTLS != nil {
		ln = tls.NewListener(ln, listenTLS)
	}
	logged := access.start()
	defer logged()
	return serve(ctx, hurry, srv, ln, maxConnections(descriptors(), len(dirs)), log)
}

// serve runs until ctx ends, then finishes what is in flight, or leaves it once
// hurry is done. At most conns connections are open at once; 0 is no bound.
func serve(ctx, hurry context.Context, srv frontEnd, ln net.Listener, conns int, log zerolog.Logger) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(work) }()
	h := srv.HTTPServer()
	var open flights
	h.Handler = open.track(h.Handler)
	ln = boundConnections(h, ln, conns, log)
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	var err error
	select {
	case <-ctx.Done():
		err = drain(hurry, h, &open, log)
	case err = <-served:
	case err = <-ran:
		ran <- nil
		err = errors.Join(err, h.Close())
	}
	stop()
	err = errors.Join(err, <-ran, srv.Close())
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// probe refuses an address that cannot be listened on before anything is made
// in the directories. The listener itself opens when the catalog can answer.
func probe(address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w; choose another with --address", err)
	}
	return ln.Close()
}

// kept says where root's secret key can be read; created that it is new.
type kept struct {
	file    string
	created bool
}

// keptIn looks for the credentials that are in use in a data directory.
func keptIn(dirs []string, c credentials, created bool) kept {
	for _, d := range dirs {
		path := filepath.Join(d, credentialsFile)
		if got, err := readCredentials(path); err == nil && got == c {
			return kept{path, created}
		}
	}
	return kept{}
}

// greet prints the endpoint, new credentials once, and a line to try.
func greet(out io.Writer, addr string, secure bool, c credentials, k kept) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port)
	if secure {
		url = "https://" + net.JoinHostPort(host, port)
	}
	fmt.Fprintf(out, "\nHoldfast serves S3 at %s\n", url)
	switch {
	case k.created:
		fmt.Fprintf(out, "New root credentials, shown this once and kept in %s:\n\n  access key  %s\n  secret key  %s\n\nTry:\n\n", k.file, c.User, c.Password)
		fmt.Fprintf(out, "  AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=us-east-1 aws --endpoint-url %s s3 mb s3://first\n\n", c.User, c.Password, url)
	case k.file != "":
		fmt.Fprintf(out, "Root's access key is %s; its secret key is in %s.\n\n", c.User, k.file)
	default:
		fmt.Fprintf(out, "Root's access key is %s.\n\n", c.User)
	}
}

func (o *serverFlags) gatewayConfig() (gateway.Config, error) {
	gw := gateway.DefaultConfig()
	inline, err := parseBytes(o.inlineLimit)
	if err != nil {
		return gw, fmt.Errorf("--inline-limit: %w", err)
	}
	gw.Region, gw.StrictRegion, gw.Domains, gw.CORSOrigins = o.region, o.strictRegion, o.domains, o.corsOrigins
	gw.MetricsPublic, gw.MetricsToken, gw.InlineLimit = o.metricsPublic, o.metricsToken, int(inline)
	return gw, gw.Validate()
}

func logger(level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), fmt.Errorf("--log-level %q: debug, info, warn or error", level)
	}
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	return zerolog.New(os.Stderr).Level(l).With().Timestamp().Logger(), nil
}

// limitMemory keeps the collector's target low: the hot paths pool their
// buffers, so a smaller heap costs little. GOGC and GOMEMLIMIT win.
func limitMemory(env func(string) (string, bool)) {
	if _, set := env("GOGC"); !set {
		debug.SetGCPercent(100)
	}
	if _, set := env("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(2 << 30)
	}
}
