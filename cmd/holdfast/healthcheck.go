package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/cluster"
	"holdfast/internal/peer"
)

func healthcheckCommand() *cobra.Command {
	var endpoint, url, role, address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:     "healthcheck",
		Short:   "Exit 0 if a server is ready, 1 with the reason if it is not",
		Example: "  holdfast healthcheck --endpoint https://127.0.0.1:9000",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if role != "" {
				return checkRole(ctx, peer.Role(role), address, os.LookupEnv)
			}
			if url == "" {
				url = strings.TrimSuffix(endpoint, "/") + "/-/ready"
			}
			return healthcheck(ctx, url)
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "http://127.0.0.1:9000", "endpoint of a server or gateway; a certificate is not verified")
	cmd.Flags().StringVar(&url, "url", "", "address to ask in the place of ENDPOINT/-/ready")
	cmd.Flags().StringVar(&role, "role", "", "tracker or storage: ask a process of a cluster, whose secret is in the environment, and no S3 endpoint")
	cmd.Flags().StringVar(&address, "address", "", "HOST:PORT of --role; by default 127.0.0.1 and the role's port")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "time allowed")
	return cmd
}

func healthcheck(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is it running there? --endpoint says where to ask", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// checkRole asks a process of this cluster.
func checkRole(ctx context.Context, role peer.Role, address string, env func(string) (string, bool)) error {
	ports := map[peer.Role]string{peer.Tracker: trackerPort, peer.Storage: storagePort}
	if ports[role] == "" {
		return fmt.Errorf("--role is tracker or storage, not %s; a server or gateway is asked with --endpoint", role)
	}
	if address == "" {
		address = net.JoinHostPort("127.0.0.1", ports[role])
	}
	var o roleFlags
	a, err := o.access(role, env)
	if err != nil {
		return err
	}
	return cluster.CheckHealth(ctx, a, role, address)
}
