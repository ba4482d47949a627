// Command holdfast is the whole product: the server, its administration, and
// a load generator, in one static binary.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	stop := watchSignals()
	if err := command(stop.second).ExecuteContext(stop.first); err != nil {
		fmt.Fprintln(os.Stderr, "holdfast:", err)
		os.Exit(1)
	}
}

// command is the command line. hurry is done when a person asks for the second
// time that a command ends.
func command(hurry context.Context) *cobra.Command {
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "An S3-compatible object store that keeps its word",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(serverCommand(hurry), initCommand(), trackerCommand(), storageCommand(), gatewayCommand(hurry), benchCommand(hurry), adminCommand(), fsckCommand(), healthcheckCommand(), versionCommand())
	explain(root)
	return root
}
