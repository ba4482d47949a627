package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/auth"
	"holdfast/auth/sigv4"
	"holdfast/gateway/admin"
	"holdfast/tracker"
)

// adminClient calls a server's administration endpoint.
type adminClient struct {
	endpoint, region string
	insecure         bool
	timeout          time.Duration
}

func adminCommand() *cobra.Command {
	c := &adminClient{}
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Look after a running server",
		Long: "Calls the administration endpoint of a running server, signed with root's key from\n" +
			"HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD, or the same names with _FILE, or else\n" +
			"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A generated pair is in holdfast.root in the\n" +
			"data directories.",
	}
	c.flags(cmd.PersistentFlags())
	cmd.AddCommand(statusCommand(c), diskCommand(c), catalogCommand(c), clockCommand(c),
		repairCommand(c), groupCommand(c), nodeCommand(c), policyCommand(c), trackerAdminCommand(c), inspectCommand(c), adminFsckCommand(c))
	return cmd
}

// flags adds the flags that say which server to call and how.
func (c *adminClient) flags(f *pflag.FlagSet) {
	f.StringVar(&c.endpoint, "endpoint", "http://127.0.0.1:9000", "endpoint of a gateway")
	f.StringVar(&c.region, "region", "us-east-1", "region of the signature")
	f.BoolVar(&c.insecure, "insecure", false, "accept any certificate")
	f.DurationVar(&c.timeout, "timeout", 5*time.Minute, "time allowed")
}

func diskCommand(c *adminClient) *cobra.Command {
	disk := &cobra.Command{Use: "disk", Short: "Replace or forget a directory that was lost"}
	var forget bool
	replace := &cobra.Command{
		Use: "replace DIR", Short: "Refill the empty directory DIR, or with --forget go on without it", Args: exactly(1),
		Long: "DIR is a directory of the server, as holdfast admin status names it. Mount an empty disk there\n" +
			"first; its shards are rebuilt from the others, without a restart. With --forget nothing comes in\n" +
			"its place; that is refused where the other directories are too few for the scheme.",
		Example: "  holdfast admin disk replace /disk3\n  holdfast admin disk replace --forget /disk3",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			path := "disk/replace"
			if forget {
				path = "disk/forget"
			}
			if err := c.call(cmd.Context(), http.MethodPost, path, admin.DiskRequest{Dir: dir}, nil); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "done; the refill goes on in the background: holdfast admin status shows what is below target")
			return nil
		},
	}
	replace.Flags().BoolVar(&forget, "forget", false, "DIR will not come back: rebuild its shards on the other directories")
	disk.AddCommand(replace)
	return disk
}

func catalogCommand(c *adminClient) *cobra.Command {
	catalog := &cobra.Command{Use: "catalog", Short: "Recover the catalog"}
	var sure bool
	alone := &cobra.Command{
		Use: "alone", Short: "Let the surviving copy of the catalog go on without the others", Args: exactly(0),
		Long: "For the case that one of two copies of the catalog, or two of three, are lost for good. Run it, then\n" +
			"holdfast admin disk replace for each lost directory. Of two copies the survivor has all that was\n" +
			"acknowledged; of three it may lack the last commits, and the nodes delete nothing until\n" +
			"holdfast fsck --adopt.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !sure {
				return errors.New("the other copies of the catalog must be lost for good: if one may come back, bring it back instead; else repeat with --lost-for-good")
			}
			if err := c.call(cmd.Context(), http.MethodPost, "catalog/alone", struct{}{}, nil); err != nil {
				return err
			}
			return c.afterAlone(cmd.Context(), cmd.OutOrStdout())
		},
	}
	alone.Flags().BoolVar(&sure, "lost-for-good", false, "the other copies will not come back")
	catalog.AddCommand(alone)
	return catalog
}

func clockCommand(c *adminClient) *cobra.Command {
	clock := &cobra.Command{Use: "clock", Short: "Accept a step of the machine's clock"}
	clock.AddCommand(&cobra.Command{
		Use: "accept", Short: "Let catalog time follow the machine's clock over a large step", Args: exactly(0),
		Long: "Catalog time, which retention and quarantine follow, takes a jump of over 15 minutes only if the\n" +
			"kernel says that its clock is synchronised. Look at the clock; if it is right, run this.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.acceptClock(cmd.Context(), cmd.OutOrStdout())
		},
	})
	return clock
}

// afterAlone says what there is now and what is left to do.
func (c *adminClient) afterAlone(ctx context.Context, w io.Writer) error {
	var st tracker.Status
	if err := c.call(ctx, http.MethodGet, "status", nil, &st); err != nil {
		return fmt.Errorf("the catalog goes on; asking for the status failed: %w", err)
	}
	fmt.Fprintln(w, "The catalog goes on. Its copies now:")
	for _, v := range st.Voters {
		fmt.Fprintln(w, "  "+v.Dir)
	}
	fmt.Fprintln(w, "Next: holdfast admin disk replace DIR for each directory that was lost, or lost its copy of the catalog;")
	fmt.Fprintln(w, "then holdfast fsck, and if its report is as you expect: holdfast fsck --adopt.")
	return nil
}

// acceptClock accepts the clock and says what that changed. The fence is
// catalog time as it was last raised.
func (c *adminClient) acceptClock(ctx context.Context, w io.Writer) error {
	var before, after tracker.Status
	if err := c.call(ctx, http.MethodGet, "status", nil, &before); err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPost, "clock/accept", struct{}{}, nil); err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodGet, "status", nil, &after); err != nil {
		return fmt.Errorf("the clock was accepted; asking for the status failed: %w", err)
	}
	_, err := fmt.Fprintln(w, clockChange(time.UnixMilli(before.Fence), time.UnixMilli(after.Fence)))
	return err
}

// clockChange says how catalog time changed. It is raised once a minute, so a
// step of that size is none.
func clockChange(before, after time.Time) string {
	step := after.Sub(before).Round(time.Second)
	now := after.UTC().Format(time.RFC3339)
	if step <= 2*time.Minute {
		return fmt.Sprintf("catalog time is %s; it had followed the clock already, or the clock is behind it, and it never goes back", now)
	}
	return fmt.Sprintf("catalog time is %s now; it was %s, %v behind the clock", now, before.UTC().Format(time.RFC3339), step)
}

// call makes one signed call; in and out may be nil.
func (c *adminClient) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+admin.Prefix+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	root, err := clientCredentials(os.LookupEnv, rootPair, awsPair)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	sigv4.Sign(req, root.User, root.Password, c.region, hex.EncodeToString(sum[:]), time.Now())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: c.insecure}}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is a server or gateway running there? --endpoint says where to ask", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e admin.Error
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if json.Unmarshal(data, &e) != nil || e.Message == "" {
			return fmt.Errorf("%s answers %s", c.endpoint, resp.Status)
		}
		if e.Code == auth.ErrSignatureMismatch.Code() || e.Code == auth.ErrUnknownAccessKey.Code() {
			return fmt.Errorf("%s (%s); give root's credentials as HOLDFAST_ROOT_USER and HOLDFAST_ROOT_PASSWORD", e.Message, e.Code)
		}
		return fmt.Errorf("%s (%s)", e.Message, e.Code)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// human writes a number of bytes for people.
func human(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
