package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/gateway/admin"
	"holdfast/tracker"
)

func policyCommand(c *adminClient) *cobra.Command {
	policy := &cobra.Command{Use: "policy", Short: "Say which storage group takes new data",
		Long: "A policy chooses among the groups that carry an object's storage class. It is set for the cluster, for\n" +
			"a class, for a bucket, or for a class within a bucket; the narrowest one counts, a bucket's before a\n" +
			"class's. Without any it is balance. Data that is there already stays where it is, and objects small\n" +
			"enough to be kept in the catalog have no group."}
	list := &cobra.Command{Use: "list", Short: "List the placement policies that are set", Args: exactly(0)}
	show(c, list, http.MethodGet, "policy", nothing, writePolicies)
	var q admin.PolicyRequest
	scope := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&q.Bucket, "bucket", "", "for this bucket only")
		cmd.Flags().StringVar(&q.Class, "class", "", "for this storage class only")
	}
	set := &cobra.Command{Use: "set balance|round-robin|pinned", Short: "Set a placement policy", Args: exactly(1),
		Long: "  balance      by free space and load\n" +
			"  round-robin  one group after another\n" +
			"  pinned       the group of --group and no other: what it cannot take is refused (503), and objects of\n" +
			"               another class than the group carries are too (400)",
		Example: "  holdfast admin policy set round-robin\n  holdfast admin policy set pinned --bucket photos --group fast\n" +
			"  holdfast admin policy set pinned --class STANDARD_IA --group bulk"}
	scope(set)
	set.Flags().StringVar(&q.Group, "group", "", "name of the group, with pinned")
	show(c, set, http.MethodPost, "policy/set", func(args []string) (any, error) {
		q.Policy = args[0]
		kind, err := tracker.ParsePolicy(q.Policy)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s is no policy; it is balance, round-robin or pinned", q.Policy)
		case kind == tracker.Pinned && q.Group == "":
			return nil, errors.New("say to which group: --group NAME; see holdfast admin group list")
		case kind != tracker.Pinned && q.Group != "":
			return nil, fmt.Errorf("--group goes with pinned, not with %s", q.Policy)
		}
		return q, nil
	}, func(w io.Writer, p *tracker.Policy) error {
		fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("new data of %s: %s %s", p.Scope(), p.Kind, p.Group)))
		return nil
	})
	unset := &cobra.Command{Use: "clear", Short: "Take a placement policy away", Args: exactly(0),
		Long:    "Takes away what is set for the cluster, or with flags for a class or bucket: the next wider policy counts then.",
		Example: "  holdfast admin policy clear --bucket photos"}
	scope(unset)
	show(c, unset, http.MethodPost, "policy/clear", func([]string) (any, error) { return q, nil }, func(w io.Writer, p *tracker.Policy) error {
		fmt.Fprintf(w, "%s has no policy of its own\n", p.Scope())
		return nil
	})
	policy.AddCommand(list, set, unset)
	return policy
}

func writePolicies(w io.Writer, list *[]tracker.Policy) error {
	fmt.Fprintln(w, "FOR\tPOLICY\tGROUP")
	for _, p := range *list {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Scope(), p.Kind, p.Group)
	}
	if len(*list) == 0 {
		fmt.Fprintln(w, "the cluster\tbalance\t")
	}
	return nil
}
