package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/cluster"
	"holdfast/internal/peer"
)

var errNoRecoverDir = errors.New("name the directory of the tracker that is left, whose process is stopped:\n\n" +
	"  holdfast tracker recover /var/lib/holdfast --advertise t1:9100")

func recoverCommand() *cobra.Command {
	var o trackerFlags
	var yes, dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "recover DIR",
		Short: "Go on from one tracker's directory after the majority was lost for good",
		Long: "For a cluster whose trackers lost their majority for good: makes the copy of the catalog in DIR, which\n" +
			"no process has open, the only one. What the others acknowledged without this copy is lost, so look at\n" +
			"every directory that is left with --dry-run, and recover the one with the highest term, and of those the\n" +
			"highest position. The others are left out for ever: empty their directories. Then start this tracker,\n" +
			"and others with empty directories; they join. Nodes serve and delete nothing until somebody has looked\n" +
			"with holdfast admin fsck and confirmed with --adopt. A catalog that was put back from a copy of the\n" +
			"directory is treated in the same way. Give the flags that the tracker is started with." + secretHelp,
		Example: "  holdfast tracker recover /var/lib/holdfast --advertise t1:9100",
		Args:    oneDir(errNoRecoverDir),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings(cmd); err != nil {
				return err
			}
			dirs, err := expandDirs(args)
			if err == nil && len(dirs) != 1 {
				err = errNoRecoverDir
			}
			if err != nil {
				return err
			}
			common, err := o.common(peer.Tracker, os.LookupEnv)
			if err != nil {
				return err
			}
			addr, err := o.roleFlags.address()
			if err != nil {
				return err
			}
			cfg := cluster.TrackerConfig{Common: common, Dir: dirs[0], Advertise: addr}
			out := cmd.OutOrStdout()
			if !asJSON || dry {
				c, err := cluster.InspectTracker(cfg)
				if err == nil {
					err = writeCopy(out, c, asJSON)
				}
				if err != nil || dry {
					return err
				}
			}
			if !yes {
				if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			c, err := cluster.RecoverTracker(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return writeCopy(out, c, true)
			}
			_, err = fmt.Fprintf(out, "\nRecovered: the catalog goes on from here, as incarnation %s.\nNext: start this tracker with its usual flags, then others with empty directories; they join. Start no tracker\n"+
				"that was left out before its directory is empty. Then holdfast admin fsck, and if its report is as you expect:\nholdfast admin fsck --adopt. Until then the nodes delete nothing.\n", c.Incarnation)
			return err
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what the directory holds, and change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writeCopy says what a directory holds, and what is lost with the others.
func writeCopy(w io.Writer, c *cluster.TrackerCopy, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(c)
	}
	changed := "none is known"
	if !c.LastChange.IsZero() {
		changed = c.LastChange.Format(time.RFC3339)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "directory\t%s\ntracker\t%s\ncluster\t%s\nincarnation\t%s\nterm\t%d\nposition\t%d\nlast change to objects\t%s\nstorage nodes\t%d\ntrackers of the group\t%s\n",
		c.Dir, c.Tracker, c.Cluster, c.Incarnation, c.Term, c.Index, changed, c.Nodes, strings.Join(c.Trackers, ", "))
	if err := t.Flush(); err != nil {
		return err
	}
	if c.Unfinished {
		fmt.Fprintln(w, "\nA recovery was cut short here. It goes on.")
	}
	_, err := fmt.Fprintln(w, "\nLost with the other trackers is what they acknowledged without this copy: puts and deletes of objects, buckets,"+
		"\nand storage nodes that joined, from the last change above on. The other trackers of the group are left out for ever.")
	return err
}

// confirm asks a person.
func confirm(in io.Reader, out io.Writer) error {
	fmt.Fprint(out, "\nAre the others lost for good? If one may come back, bring it back instead. Type yes to go on: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed, and nothing was changed; repeat with --yes where nobody can be asked")
	}
	return nil
}
