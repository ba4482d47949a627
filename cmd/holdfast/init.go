package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/internal/peer"
)

// secretFile is the name under which holdfast init keeps the secret.
const secretFile = "cluster.secret"

// samples are the configurations that holdfast init writes, by role. The keys
// are flags of the role's command.
var samples = []struct{ file, text string }{
	{"tracker.yaml", `# holdfast tracker DIR --config tracker.yaml, on 1, 3 or 5 machines
trackers: [tracker1:9100, tracker2:9100, tracker3:9100]
listen: ":9100"
# advertise: tracker1:9100   # by default this machine's name and the port
bootstrap: true              # at one or at all; begins a catalog only where all are empty
`},
	{"storage.yaml", `# holdfast storage DIR... --config storage.yaml, on every machine with disks
trackers: [tracker1:9100, tracker2:9100, tracker3:9100]
listen: ":9200"
# advertise: storage1:9200   # by default this machine's name and the port
group: default
scheme: rep-3                # of the group, made where it is new: rep-N or rs-K+M
# zone: a                    # failure domains, outermost first
# rack: r1
`},
	{"gateway.yaml", `# holdfast gateway --config gateway.yaml, on as many machines as you like
# with HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD in the environment
trackers: [tracker1:9100, tracker2:9100, tracker3:9100]
address: ":9000"
`},
}

func initCommand() *cobra.Command {
	var asEnv bool
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a cluster secret and a sample configuration for each role",
		Long: "Writes a new cluster secret, readable only by its owner, and a sample configuration for each role of a\n" +
			"cluster into DIR (here by default). Nothing that is there is changed. Bring the secret to every machine\n" +
			"and name it there: HOLDFAST_CLUSTER_SECRET_FILE=/etc/holdfast/" + secretFile,
		Example: "  holdfast init ./cluster",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asEnv {
				return printEnv(cmd.OutOrStdout())
			}
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return writeSamples(cmd.OutOrStdout(), dir)
		},
	}
	cmd.Flags().BoolVar(&asEnv, "env", false, "print a new secret and new root credentials as an environment file, for docker-compose.yml, and write nothing")
	return cmd
}

// printEnv prints what the containers of docker-compose.yml are told.
func printEnv(out io.Writer) error {
	c, err := generateCredentials()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "HOLDFAST_CLUSTER_SECRET=%s\nHOLDFAST_ROOT_USER=%s\nHOLDFAST_ROOT_PASSWORD=%s\n", peer.NewSecret(), c.User, c.Password)
	return err
}

// writeSamples writes the secret and the samples that are not there.
func writeSamples(out io.Writer, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, secretFile)
	if _, err := os.Stat(path); err == nil {
		fmt.Fprintf(out, "kept   %s\n", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	} else {
		if err := keepOnce(path, []byte(peer.NewSecret()+"\n")); err != nil {
			return err
		}
		fmt.Fprintf(out, "made   %s\n", path)
	}
	for _, s := range samples {
		path := filepath.Join(dir, s.file)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			fmt.Fprintf(out, "kept   %s\n", path)
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.WriteString(s.text)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		fmt.Fprintf(out, "made   %s\n", path)
	}
	fmt.Fprintf(out, "\nBring %s to every machine, readable only for the user that runs Holdfast, and name it there:\n\n  export HOLDFAST_CLUSTER_SECRET_FILE=/etc/holdfast/%s\n", path, secretFile)
	return nil
}
