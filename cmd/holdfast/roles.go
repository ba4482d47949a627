package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/auth"
	"holdfast/cmd/cluster"
	"holdfast/internal/peer"
	"holdfast/tracker"
)

// clusterSecret names the variable with the secret that all roles share,
// oldSecret that of the one before it while it is changed.
const (
	clusterSecret = "HOLDFAST_CLUSTER_SECRET"
	oldSecret     = "HOLDFAST_CLUSTER_SECRET_OLD"
)

// The ports of the roles, where none is named.
const (
	trackerPort = "9100"
	storagePort = "9200"
)

// roleFlags are the flags that the roles of a cluster share.
type roleFlags struct {
	trackers                  []string
	listen, advertise         string
	certFile, keyFile, caFile string
	logLevel, config          string
	clusterID                 string
}

func (o *roleFlags) register(f *pflag.FlagSet, port string) {
	f.StringSliceVar(&o.trackers, "trackers", nil, "addresses of the trackers, HOST:PORT,HOST:PORT")
	if port != "" {
		f.StringVar(&o.listen, "listen", ":"+port, "listen address for the other roles, HOST:PORT")
		f.StringVar(&o.advertise, "advertise", "", "address under which the other roles reach this process; by default this machine's name and the port of --listen")
	}
	f.StringVar(&o.clusterID, "cluster-id", "", "id of the cluster, where its secret was changed; by default the one of the secret")
	f.StringVar(&o.certFile, "cluster-cert", "", "certificate of this process for the other roles (PEM); by default one is minted from the cluster secret")
	f.StringVar(&o.keyFile, "cluster-key", "", "private key of --cluster-cert (PEM)")
	f.StringVar(&o.caFile, "cluster-ca", "", "authorities that sign the certificates of all roles (PEM)")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.config, "config", "", "YAML file with any of these flags")
}

// secretHelp ends the help of every role.
const secretHelp = "\n\nThe roles of a cluster share a secret, from HOLDFAST_CLUSTER_SECRET or the file that\n" +
	"HOLDFAST_CLUSTER_SECRET_FILE names; holdfast init makes one. Every flag is also HOLDFAST_NAME in the\n" +
	"environment and a key of the file given by --config; the command line wins, then the environment."

// access reads what lets this process into its cluster.
func (o *roleFlags) access(role peer.Role, env func(string) (string, bool)) (a cluster.Access, err error) {
	text, err := envOrFile(clusterSecret, env)
	if err != nil {
		return a, err
	}
	if a.Secret, err = peer.ParseSecret(text); err != nil {
		return a, err
	}
	if text, err = envOrFile(oldSecret, env); err != nil {
		return a, err
	}
	if text != "" {
		old, err := peer.ParseSecret(text)
		if err != nil {
			return a, fmt.Errorf("%s: %w", oldSecret, err)
		}
		a.Secret = a.Secret.Accepting(old)
	}
	if a.ID = o.clusterID; a.ID != "" {
		id, err := uuid.Parse(a.ID)
		if err != nil || len(a.ID) != 36 {
			return a, fmt.Errorf("--cluster-id %q is no id; holdfast admin status shows it", a.ID)
		}
		a.ID = id.String() // directories have it in lower case
	}
	if o.certFile == "" && o.keyFile == "" && o.caFile == "" {
		a.Credentials, err = peer.Derived(a.Secret, role)
		return a, err
	}
	if o.certFile == "" || o.keyFile == "" || o.caFile == "" {
		return a, errors.New("give --cluster-cert, --cluster-key and --cluster-ca together, or none of them")
	}
	var pem [3][]byte
	for i, name := range []string{o.certFile, o.keyFile, o.caFile} {
		if pem[i], err = os.ReadFile(name); err != nil {
			return a, fmt.Errorf("cluster certificates: %w", err)
		}
	}
	a.Credentials, err = peer.Given(pem[0], pem[1], pem[2])
	return a, err
}

// common is what every role is told.
func (o *roleFlags) common(role peer.Role, env func(string) (string, bool)) (c cluster.Common, err error) {
	if c.Log, err = logger(o.logLevel); err != nil {
		return c, err
	}
	c.Log = c.Log.With().Str("role", string(role)).Logger()
	if c.Access, err = o.access(role, env); err != nil {
		return c, err
	}
	for _, t := range o.trackers {
		if t = strings.TrimSpace(t); t != "" {
			c.Trackers = append(c.Trackers, t)
		}
	}
	limitMemory(env)
	return c, nil
}

// address is where the others reach this process.
func (o *roleFlags) address() (string, error) {
	addr := o.advertise
	if addr == "" {
		host, port, err := net.SplitHostPort(o.listen)
		if err != nil {
			return "", fmt.Errorf("--listen: %w", err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				return "", fmt.Errorf("this machine's name is not known; give --advertise HOST:PORT: %w", err)
			}
		}
		addr = net.JoinHostPort(host, port)
	}
	return addr, cluster.CheckAddress(addr)
}

// runRole opens a role, says so, and runs it until a signal.
func runRole(ctx context.Context, log zerolog.Logger, addr string, o *observeFlags, open func(context.Context) (observed, error)) (err error) {
	v, err := o.open(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	r, err := open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	log.Info().Str("addr", addr).Msg("serving")
	if err = v.show(r); err == nil {
		err = r.Run(ctx)
	}
	if ctx.Err() != nil {
		log.Info().Msg("stopped")
	}
	return errors.Join(err, r.Close())
}

type role interface {
	Run(ctx context.Context) error
	Close() error
}

// trackerFlags are those of a tracker.
type trackerFlags struct {
	roleFlags
	observeFlags
	id                string
	bootstrap, strict bool
}

func (o *trackerFlags) register(f *pflag.FlagSet) {
	o.roleFlags.register(f, trackerPort)
	o.observeFlags.register(f)
	f.StringVar(&o.id, "id", "", "name of this tracker, for ever the same; by default made of its address")
	f.BoolVar(&o.bootstrap, "bootstrap", false, "begin a new cluster, if all trackers are empty")
	f.BoolVar(&o.strict, "strict", false, "reads ask the log and trust no clock: for machines that are paused or migrated while they run")
}

func trackerCommand() *cobra.Command {
	var o trackerFlags
	cmd := &cobra.Command{
		Use:   "tracker DIR",
		Short: "Run a tracker of a cluster: scheduler and a copy of the catalog",
		Long: "Runs one of 1, 3 or 5 trackers, with its copy of the catalog in DIR. The first start of a cluster\n" +
			"needs --bootstrap, at one of them or at all: one begins a new catalog once all of --trackers answer that\n" +
			"they are empty, and the others copy it. The flag may stay. An empty tracker joins a cluster that is there: name\n" +
			"the others with --trackers." + secretHelp,
		Example: "  holdfast tracker /var/lib/holdfast --trackers t1:9100,t2:9100,t3:9100 --bootstrap",
		Args:    oneDir(errNoTrackerDir),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings(cmd); err != nil {
				return err
			}
			dirs, err := expandDirs(args)
			if err == nil && len(dirs) != 1 {
				err = errNoTrackerDir
			}
			if err != nil {
				return err
			}
			common, err := o.common(peer.Tracker, os.LookupEnv)
			if err != nil {
				return err
			}
			addr, err := o.roleFlags.address()
			if err == nil {
				err = checkDescriptors(descriptors(), len(dirs), common.Log)
			}
			if err != nil {
				return err
			}
			return runRole(cmd.Context(), common.Log, addr, &o.observeFlags, func(ctx context.Context) (observed, error) {
				l, err := peer.Listen(o.listen, common.Access.Credentials, peer.Control, peer.Raft)
				if err != nil {
					return nil, fmt.Errorf("%w; choose another with --listen", err)
				}
				return cluster.NewTracker(ctx, cluster.TrackerConfig{Common: common, ID: o.id, Dir: dirs[0], Advertise: addr,
					Bootstrap: o.bootstrap, Strict: o.strict, Listener: l})
			})
		},
	}
	o.register(cmd.Flags())
	cmd.AddCommand(recoverCommand())
	return cmd
}

var (
	errNoTrackerDir = errors.New("name one directory for this tracker's copy of the catalog (it is made if it does not exist):\n\n" +
		"  holdfast tracker /var/lib/holdfast --trackers t1:9100,t2:9100,t3:9100 --bootstrap\n\nholdfast tracker --help has the flags")
	errNoStorageDirs = errors.New("name the directories to keep data in, one for each disk; each is a storage node (they are made if they do not exist):\n\n" +
		"  holdfast storage '/disk{1...4}' --group default --scheme rs-4+2 --trackers t1:9100,t2:9100,t3:9100\n\nholdfast storage --help has the flags")
)

// oneDir takes one argument, and says what to do where it is not one.
func oneDir(otherwise error) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return otherwise
		}
		return nil
	}
}

func storageCommand() *cobra.Command {
	var o roleFlags
	var seen observeFlags
	var group, scheme, class string
	var d tracker.Domain
	cmd := &cobra.Command{
		Use:   "storage DIR...",
		Short: "Run storage nodes of a cluster, one in each directory",
		Long: "Runs one storage node in each directory. An empty directory becomes a new node of the group. Where\n" +
			"there is no such group yet, --scheme makes it. {1...8} in a name stands for a range." + secretHelp,
		Example: "  holdfast storage /disk{1...4} --group bulk --scheme rs-4+2 --trackers t1:9100,t2:9100,t3:9100",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errNoStorageDirs
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
			common, err := o.common(peer.Storage, os.LookupEnv)
			if err != nil {
				return err
			}
			addr, err := o.address()
			if err == nil {
				err = checkDescriptors(descriptors(), len(dirs), common.Log)
			}
			if err != nil {
				return err
			}
			if d.Host == "" {
				d.Host, _, _ = net.SplitHostPort(addr)
			}
			return runRole(cmd.Context(), common.Log, addr, &seen, func(ctx context.Context) (observed, error) {
				l, err := peer.Listen(o.listen, common.Access.Credentials, peer.Control, peer.Data)
				if err != nil {
					return nil, fmt.Errorf("%w; choose another with --listen", err)
				}
				if !cmd.Flags().Changed("class") {
					class = "" // the group's own
				}
				return cluster.NewStorage(ctx, cluster.StorageConfig{Common: common, Dirs: dirs, Group: group, Scheme: scheme, Class: class,
					Advertise: addr, Domain: d, Listener: l})
			})
		},
	}
	f := cmd.Flags()
	o.register(f, storagePort)
	seen.register(f)
	f.StringVar(&group, "group", "default", "storage group that new nodes join")
	f.StringVar(&scheme, "scheme", "", "redundancy of the group where it is new, rep-N or rs-K+M")
	f.StringVar(&class, "class", "STANDARD", "storage class of the group where it is new")
	f.StringVar(&d.Zone, "zone", "", "failure domain: the zone")
	f.StringVar(&d.Rack, "rack", "", "failure domain: the rack")
	f.StringVar(&d.Host, "host", "", "failure domain: the machine; by default that of --advertise")
	return cmd
}

func gatewayCommand(hurry context.Context) *cobra.Command {
	var o roleFlags
	var s serverFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run a gateway of a cluster: S3 for its clients",
		Long: "Speaks S3 to clients, and asks trackers and storage nodes. It keeps nothing; run as many as you like.\n" +
			"Root's credentials come from HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD, or the same names with _FILE,\n" +
			"and must be the same on every gateway." + secretHelp,
		Example: "  holdfast gateway --trackers t1:9100,t2:9100,t3:9100 --address :9000",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings(cmd); err != nil {
				return err
			}
			return runGateway(cmd.Context(), hurry, &o, &s, os.LookupEnv)
		},
	}
	o.register(cmd.Flags(), "")
	s.register(cmd.Flags())
	return cmd
}

func runGateway(ctx, hurry context.Context, o *roleFlags, s *serverFlags, env func(string) (string, bool)) error {
	common, err := o.common(peer.Gateway, env)
	if err != nil {
		return err
	}
	gw, err := s.gatewayConfig()
	if err == nil {
		err = checkDescriptors(descriptors(), 0, common.Log)
	}
	if err != nil {
		return err
	}
	listenTLS, err := s.tlsConfig(common.Log)
	if err != nil {
		return err
	}
	creds, err := clientCredentials(env, rootPair)
	if err == nil {
		err = creds.validate()
	}
	if err != nil {
		return err
	}
	keys, err := auth.NewStatic(creds.User, creds.Password)
	if err != nil {
		return err
	}
	access, err := openAccessLog(s.accessLog)
	if err != nil {
		return fmt.Errorf("--access-log: %w", err)
	}
	g, err := cluster.NewGateway(cluster.GatewayConfig{Common: common, Keys: keys, Gateway: gw, AccessLog: access.writer()})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", s.address)
	if err != nil {
		return errors.Join(fmt.Errorf("%w; choose another with --address", err), g.Close())
	}
	common.Log.Info().Str("addr", ln.Addr().String()).Msg("serving")
	if listenTLS != nil {
		ln = tls.NewListener(ln, listenTLS)
	}
	logged := access.start()
	defer logged()
	return serve(ctx, hurry, g, ln, maxConnections(descriptors(), 0), common.Log)
}

// frontEnd is what serves S3: a whole server, or a gateway.
type frontEnd interface {
	role
	HTTPServer() *http.Server
}
