package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/tracker"
)

func statusCommand(c *adminClient) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show nodes, groups, catalog copies and queues", Args: exactly(0),
		Long: "Shows the nodes (one for each directory), the copies of the catalog and what waits. \"Blobs\n" +
			"below target\" are those with fewer good shards than their scheme is wide; 0 means that the\n" +
			"catalog has been walked and nothing is missing. Nodes that are gone, since they were replaced or\n" +
			"forgotten, are shown with --all.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st tracker.Status
			if err := c.call(cmd.Context(), http.MethodGet, "status", nil, &st); err != nil {
				return err
			}
			gone := 0
			if !all {
				gone = hideGone(st.Map)
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(&st)
			}
			return writeStatus(cmd.OutOrStdout(), &st, gone)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "show nodes that are gone too")
	return cmd
}

// hideGone leaves out the nodes that are gone, and returns how many.
func hideGone(m *tracker.Map) int {
	before := len(m.Nodes)
	m.Nodes = slices.DeleteFunc(m.Nodes, func(n tracker.Node) bool { return n.State == tracker.NodeGone })
	return before - len(m.Nodes)
}

// writeStatus writes a status for people; gone nodes were left out of it.
func writeStatus(w io.Writer, st *tracker.Status, gone int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	below := "being counted"
	if st.BlobsBelow >= 0 {
		below = fmt.Sprint(st.BlobsBelow)
	}
	fmt.Fprintf(t, "cluster\t%s\nincarnation\t%s\nblobs below target\t%s\n\n", st.Map.Cluster, st.Incarnation, below)
	if st.Frozen {
		fmt.Fprintln(t, "The nodes delete nothing: the catalog is another incarnation than they know. Run: holdfast admin fsck")
		fmt.Fprintln(t)
	}
	if st.Held {
		fmt.Fprintln(t, "The catalog answers no client: storage nodes with data belong to another one, which it may have replaced.")
		fmt.Fprintln(t, "Stop the trackers and bring back a directory that has the old one. If that is lost for good, and the data")
		fmt.Fprintln(t, "of these nodes with it: holdfast admin fsck, then holdfast admin fsck --adopt")
	} else if len(st.Strangers) > 0 {
		fmt.Fprintln(t, "Storage nodes ask for this catalog that it does not know. Nothing of them is deleted. Are they another")
		fmt.Fprintln(t, "cluster's? Else it is older than they are: holdfast admin fsck")
	}
	if len(st.Strangers) > 0 {
		writeStrangers(t, st.Strangers)
	}
	if st.Held || len(st.Strangers) > 0 {
		fmt.Fprintln(t)
	}
	if st.Leader == "" && len(st.Voters) > 0 {
		fmt.Fprintln(t, "The catalog has no majority of its copies and takes no writes: mount what is missing and restart. If it is")
		fmt.Fprintln(t, "lost for good: holdfast admin catalog alone --lost-for-good")
		fmt.Fprintln(t)
	}
	where := "DIRECTORY"
	if len(st.Voters) > 0 && st.Voters[0].Dir == "" {
		where = "ADDRESS" // of a cluster
	}
	fmt.Fprintf(t, "NODE\tGROUP\tSTATE\tUSED\tFREE\tERRORS\t%s\tERROR\n", where)
	for _, n := range st.Map.Nodes {
		state, used, free, errs := n.State.String(), human(n.Load.Used), human(n.Load.Free), fmt.Sprint(n.Load.Errors)
		switch {
		case n.Role == tracker.RoleReadOnly: // as an operator wants it
			state += ", ro"
		case n.ReadOnly && n.State == tracker.NodeActive:
			state = "read-only"
		}
		if n.State == tracker.NodeGone || n.State == tracker.NodeDown && n.Load.Total == 0 {
			used, free, errs = "-", "-", "-" // nothing was heard of it
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.ID, groupName(st.Map, n.Group), state, used, free, errs, n.Addr, n.Load.Err)
	}
	if gone > 0 {
		fmt.Fprintf(t, "(%d more, replaced or forgotten: --all)\n", gone)
	}
	fmt.Fprintf(t, "\nCATALOG COPY\tLEADER\tAPPLIED\t%s\tERROR\n", where)
	for _, v := range st.Voters {
		where := v.Dir
		if where == "" {
			where = v.Addr
		}
		fmt.Fprintf(t, "%s\t%v\t%d\t%s\t%s\n", v.ID, v.Leader, v.Applied, where, v.Err)
	}
	fmt.Fprintln(t, "\nQUEUE\tLENGTH\tOLDEST\tDONE\tFAILED")
	for _, name := range slices.Sorted(maps.Keys(st.Queues)) {
		q := st.Queues[name]
		age := "-"
		if q.Oldest > 0 {
			age = time.Since(time.UnixMilli(q.Oldest)).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%d\n", name, q.Length, age, q.Done, q.Failed)
	}
	return t.Flush()
}

func groupName(m *tracker.Map, id uint16) string {
	for _, g := range m.Groups {
		if g.ID == id {
			return g.Name + " (" + g.Scheme.String() + ")"
		}
	}
	if id == 0 {
		return "-"
	}
	return fmt.Sprint(id)
}
