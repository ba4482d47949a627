package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/gateway"
	"holdfast/tracker"
)

// fsckCommand is holdfast fsck, with flags of its own for which server to call.
func fsckCommand() *cobra.Command {
	c := &adminClient{}
	cmd := adminFsckCommand(c)
	c.flags(cmd.Flags())
	return cmd
}

// adminFsckCommand is the same under holdfast admin.
func adminFsckCommand(c *adminClient) *cobra.Command {
	var adopt, asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Compare the catalog with what the disks hold",
		Long: "Compares, on a running server or cluster, what the catalog says with what the nodes hold. After a\n" +
			"catalog was restored from a copy or recovered without its majority the nodes delete nothing until\n" +
			"--adopt: look at the report first, since what is unknown to the catalog may be deleted from then on.\n" +
			"Nodes that do not answer are not compared; run it again once they do. Missing shards include those of\n" +
			"deleted objects that wait for the readers' grace. Credentials: see holdfast admin --help.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "fsck"
			if adopt {
				path = "fsck/adopt"
			}
			var rep gateway.Fsck
			if err := c.call(cmd.Context(), http.MethodPost, path, struct{}{}, &rep); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(&rep)
			}
			return writeFsck(cmd.OutOrStdout(), &rep, adopt)
		},
	}
	cmd.Flags().BoolVar(&adopt, "adopt", false, "let the nodes follow the catalog as it is now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writeStrangers lists the nodes that the catalog does not know.
func writeStrangers(w io.Writer, strangers []tracker.Stranger) {
	for _, x := range strangers {
		fmt.Fprintf(w, "  unknown to the catalog: node %d at %s, %d shards, %s, of incarnation %s\n", x.Node, x.Addr, x.Shards, human(x.Bytes), x.Incarnation)
	}
}

func writeFsck(w io.Writer, f *gateway.Fsck, adopted bool) error {
	fmt.Fprintf(w, "catalog incarnation   %s\nlive blobs            %d\nholes                 %d\nmissing shards        %d\nunknown shards        %d (%s)\nunreadable blobs      %d\n",
		f.Incarnation, f.Blobs, f.Holes, f.Missing, f.Unknown, human(f.UnknownBytes), len(f.Unreadable))
	for _, id := range f.Unreadable {
		fmt.Fprintln(w, "  unreadable", id)
	}
	for _, n := range f.Unreached {
		fmt.Fprintln(w, "  not compared:", n)
	}
	writeStrangers(w, f.Strangers)
	if adopted && !f.Frozen {
		fmt.Fprintln(w, "The nodes follow this catalog from here on; holdfast admin status shows it within seconds.")
	}
	if adopted && len(f.Unreached) > 0 {
		fmt.Fprintln(w, "Those that were not compared still wait: run it again once they answer, or holdfast admin node forget ID.")
	}
	if f.Frozen {
		fmt.Fprintln(w, "The catalog is another incarnation than the nodes know: they delete nothing. If the report is as you expect, run: holdfast admin fsck --adopt")
	}
	return nil
}
