package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"holdfast/gateway"
)

func fsckCommand() *cobra.Command {
	c := &adminClient{}
	var adopt, asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Compare the catalog with what the disks hold",
		Long: "Compares, on a running server, what the catalog says with what the nodes hold. After a\n" +
			"catalog was restored from a copy the nodes delete nothing until --adopt: look at the\n" +
			"report first, since what is unknown to the catalog may be deleted from then on. Missing shards\n" +
			"include those of deleted objects that wait for the readers' grace. Credentials: see\n" +
			"holdfast admin --help.",
		Args: cobra.NoArgs,
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
			return writeFsck(cmd.OutOrStdout(), &rep)
		},
	}
	c.flags(cmd.Flags())
	cmd.Flags().BoolVar(&adopt, "adopt", false, "let the nodes follow the catalog as it is now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeFsck(w io.Writer, f *gateway.Fsck) error {
	fmt.Fprintf(w, "catalog incarnation   %s\nlive blobs            %d\nholes                 %d\nmissing shards        %d\nunknown shards        %d (%s)\nunreadable blobs      %d\n",
		f.Incarnation, f.Blobs, f.Holes, f.Missing, f.Unknown, human(f.UnknownBytes), len(f.Unreadable))
	for _, id := range f.Unreadable {
		fmt.Fprintln(w, "  unreadable", id)
	}
	if f.Frozen {
		fmt.Fprintln(w, "The catalog is another incarnation than the nodes know: they delete nothing. If the report is as you expect, run: holdfast fsck --adopt")
	}
	return nil
}
