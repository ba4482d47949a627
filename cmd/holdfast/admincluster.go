package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/gateway"
	"holdfast/gateway/admin"
	"holdfast/storage"
	"holdfast/tracker"
)

// show asks for a T and prints it as a table, or with --json as JSON.
func show[T any](c *adminClient, cmd *cobra.Command, method, path string, in func(args []string) (any, error), table func(io.Writer, *T) error) {
	var asJSON bool
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := in(args)
		if err != nil {
			return err
		}
		var out T
		if err := c.call(cmd.Context(), method, path, body, &out); err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(&out)
		}
		t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		return errors.Join(table(t, &out), t.Flush())
	}
}

func nothing([]string) (any, error) { return nil, nil }

func repairCommand(c *adminClient) *cobra.Command {
	cmd := &cobra.Command{Use: "repair", Short: "Show how repair is going", Args: exactly(0),
		Long: "Shows how many blobs have fewer good shards than they should, how far their repair is, and what is lost."}
	show(c, cmd, http.MethodGet, "repair", nothing, writeRepair)
	return cmd
}

func writeRepair(w io.Writer, r *tracker.Repair) error {
	below := "being counted"
	if r.Below >= 0 {
		below = fmt.Sprint(r.Below)
	}
	if r.Settled {
		below += " (final: all were counted, and none waits)"
	}
	fmt.Fprintf(w, "blobs below target\t%s\nwaiting\t%d\nrunning\t%d\nrepaired\t%d\nfailed\t%d\nwritten\t%s\nleft, about\t%s\n",
		below, r.Waiting, r.Running, r.Done, r.Failed, human(r.BytesDone), human(r.BytesLeft))
	if r.ETA > 0 {
		fmt.Fprintf(w, "done in about\t%s\n", r.ETA.Round(time.Second))
	}
	if r.Paused {
		fmt.Fprintln(w, "repair is paused")
	}
	if len(r.ByRisk) > 0 {
		fmt.Fprintln(w, "\nSHARDS THAT CAN STILL BE LOST\tBLOBS")
		for _, spare := range slices.Sorted(maps.Keys(r.ByRisk)) {
			fmt.Fprintf(w, "%d\t%d\n", spare, r.ByRisk[spare])
		}
	}
	for i, l := range r.Lost {
		if i == 0 {
			fmt.Fprintln(w, "\nBLOB THAT CANNOT BE REPAIRED NOW\tWHY")
		}
		fmt.Fprintf(w, "%s\t%s\n", l.Blob, l.Reason)
	}
	return nil
}

func groupCommand(c *adminClient) *cobra.Command {
	group := &cobra.Command{Use: "group", Short: "Make and list storage groups"}
	list := &cobra.Command{Use: "list", Short: "List the storage groups", Args: exactly(0)}
	show(c, list, http.MethodGet, "status", nothing, writeGroups)
	var q admin.GroupRequest
	create := &cobra.Command{Use: "create NAME", Short: "Make a storage group that nodes can join", Args: exactly(1),
		Example: "  holdfast admin group create cold --scheme rs-8+4 --class GLACIER_IR"}
	create.Flags().StringVar(&q.Scheme, "scheme", "", "redundancy, rep-N or rs-K+M")
	create.Flags().StringVar(&q.Class, "class", "STANDARD", "storage class of the objects that it takes")
	show(c, create, http.MethodPost, "group/create", func(args []string) (any, error) {
		if q.Name = args[0]; q.Scheme == "" {
			return nil, errors.New("say how its data is kept: --scheme rep-N or rs-K+M")
		}
		return q, nil
	}, func(w io.Writer, g *tracker.Group) error {
		fmt.Fprintf(w, "group %s (%s, class %s) is there; start nodes with: holdfast storage DIR... --group %s\n", g.Name, g.Scheme, g.Class, g.Name)
		return nil
	})
	group.AddCommand(list, create)
	return group
}

func writeGroups(w io.Writer, st *tracker.Status) error {
	fmt.Fprintln(w, "GROUP\tSCHEME\tCLASS\tNODES\tACTIVE\tUSED\tFREE")
	for _, g := range st.Map.Groups {
		var nodes, active int
		var used, free int64
		for _, n := range st.Map.Nodes {
			if n.Group != g.ID || n.State == tracker.NodeGone {
				continue
			}
			nodes++
			used, free = used+n.Load.Used, free+n.Load.Free
			if n.State == tracker.NodeActive {
				active++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", g.Name, g.Scheme, g.Class, nodes, active, human(used), human(free))
	}
	return nil
}

func nodeCommand(c *adminClient) *cobra.Command {
	node := &cobra.Command{Use: "node", Short: "Look after the storage nodes of a cluster"}
	list := &cobra.Command{Use: "list", Short: "List the storage nodes", Args: exactly(0)}
	show(c, list, http.MethodGet, "status", nothing, writeNodes)
	forget := &cobra.Command{Use: "forget ID", Short: "Give up a node that will not come back", Args: exactly(1),
		Long: "What the node held is rebuilt on the others of its group. The node never comes back: empty its\n" +
			"directory to use it as a new one. A node that serves is refused; stop its process first."}
	show(c, forget, http.MethodPost, "node/forget", func(args []string) (any, error) {
		id, err := nodeID(args[0])
		return admin.NodeRequest{Node: id}, err
	}, func(w io.Writer, _ *struct{}) error {
		fmt.Fprintln(w, "the node is given up; holdfast admin repair shows how the rebuild goes")
		return nil
	})
	var force bool
	set := &cobra.Command{Use: "set ID ro|rw", Short: "Let a node take new data, or not", Args: exactly(2),
		Long: "A node that is ro takes no new shard, of writes or of repair. It serves reads and deletes as before, and\n" +
			"what it holds stays there; that lasts until it is set rw. Refused where its group would have fewer\n" +
			"nodes that take writes than its scheme is wide: add a node first, or insist with --force.",
		Example: "  holdfast admin node set 7 ro"}
	set.Flags().BoolVar(&force, "force", false, "though too few nodes would take writes")
	show(c, set, http.MethodPost, "node/role", func(args []string) (any, error) {
		id, err := nodeID(args[0])
		if err != nil {
			return nil, err
		}
		if _, err := tracker.ParseRole(args[1]); err != nil {
			return nil, fmt.Errorf("%s is no role; it is ro or rw", args[1])
		}
		return admin.RoleRequest{Node: id, Role: args[1], Force: force}, nil
	}, func(w io.Writer, n *tracker.Node) error {
		fmt.Fprintf(w, "node %d is %s\n", n.ID, n.Role)
		return nil
	})
	node.AddCommand(list, set, forget)
	return node
}

func nodeID(text string) (storage.NodeID, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s is no node's id; see holdfast admin node list", text)
	}
	return storage.NodeID(id), nil
}

func writeNodes(w io.Writer, st *tracker.Status) error {
	fmt.Fprintln(w, "NODE\tGROUP\tSTATE\tROLE\tEPOCH\tADDRESS\tZONE\tRACK\tHOST\tUSED\tFREE\tERRORS")
	for _, n := range st.Map.Nodes {
		if n.State == tracker.NodeGone {
			continue
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", n.ID, groupName(st.Map, n.Group), n.State, n.Role, n.Epoch, n.Addr,
			n.Domain.Zone, n.Domain.Rack, n.Domain.Host, human(n.Load.Used), human(n.Load.Free), n.Load.Errors)
	}
	return nil
}

func trackerAdminCommand(c *adminClient) *cobra.Command {
	t := &cobra.Command{Use: "tracker", Short: "Look after the trackers of a cluster",
		Long: "A tracker is added by starting it on an empty directory: holdfast tracker DIR --trackers, with the\n" +
			"addresses of the others. It copies the catalog and joins by itself."}
	list := &cobra.Command{Use: "list", Short: "List the trackers", Args: exactly(0)}
	show(c, list, http.MethodGet, "status", nothing, writeTrackers)
	remove := &cobra.Command{Use: "remove ID", Short: "Take a tracker out of the cluster", Args: exactly(1),
		Long: "The others go on without it; it stops. Refused for the last one, and where those that stay could not go on."}
	show(c, remove, http.MethodPost, "tracker/remove", func(args []string) (any, error) {
		return admin.TrackerRequest{ID: args[0]}, nil
	}, func(w io.Writer, _ *struct{}) error {
		fmt.Fprintln(w, "the tracker is out; its directory can be emptied")
		return nil
	})
	t.AddCommand(list, remove)
	return t
}

func writeTrackers(w io.Writer, st *tracker.Status) error {
	fmt.Fprintln(w, "TRACKER\tADDRESS\tLEADS\tVOTES\tAPPLIED\tNOTE")
	for _, v := range st.Voters {
		fmt.Fprintf(w, "%s\t%s\t%v\t%v\t%d\t%s\n", v.ID, v.Addr+v.Dir, v.Leader, !v.Joining, v.Applied, strings.TrimSpace(v.Note+" "+v.Err))
	}
	return nil
}

func inspectCommand(c *adminClient) *cobra.Command {
	var version string
	cmd := &cobra.Command{Use: "inspect s3://BUCKET/KEY", Short: "Show where an object's bytes are, down to its shards", Args: exactly(1)}
	cmd.Flags().StringVar(&version, "version", "", "version id; the current version by default")
	show(c, cmd, http.MethodPost, "inspect", func(args []string) (any, error) {
		bucket, key, ok := strings.Cut(strings.TrimPrefix(args[0], "s3://"), "/")
		if !ok || bucket == "" || key == "" {
			return nil, fmt.Errorf("%s: name an object as s3://BUCKET/KEY", args[0])
		}
		return admin.InspectRequest{Bucket: bucket, Key: key, Version: version}, nil
	}, writeInspection)
	return cmd
}

func writeInspection(w io.Writer, i *gateway.Inspection) error {
	fmt.Fprintf(w, "object\ts3://%s/%s\nversion\t%s\nsize\t%d\netag\t%s\nclass\t%s\nmodified\t%s\n", i.Bucket, i.Key, i.Version, i.Size, i.ETag, cmp.Or(i.Class, tracker.DefaultClass), i.Modified.Format(time.RFC3339))
	if i.Inline > 0 {
		fmt.Fprintf(w, "kept in\tthe catalog (%d bytes)\n", i.Inline)
	}
	for _, e := range i.Extents {
		fmt.Fprintf(w, "\nbytes %d to %d: blob %s, %s in group %s: %d of %d shards there, %d needed\n", e.Offset, e.Offset+e.Length-1, e.Blob, e.Scheme, e.Group, e.Found, len(e.Shards), e.Needed)
		fmt.Fprintln(w, "SHARD\tNODE\tADDRESS\tSTATE\tBYTES\tPROBLEM")
		for _, s := range e.Shards {
			fmt.Fprintf(w, "%d.%d\t%d\t%s\t%s\t%d\t%s\n", s.Index, s.Generation, s.Node, s.Addr, s.State, s.Bytes, s.Problem)
		}
	}
	if i.Truncated {
		fmt.Fprintln(w, "\nand more extents")
	}
	return nil
}
