package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build with -ldflags "-X main.version=...".
var version string

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), buildVersion())
			return err
		},
	}
}

// buildVersion is one line: the release if this is one, the revision that it
// was built from, and what built it for what.
func buildVersion() string {
	info, _ := debug.ReadBuildInfo()
	return describe(version, info)
}

func describe(release string, info *debug.BuildInfo) string {
	revision, changed := "", ""
	if info != nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = " with changes"
			}
		}
	}
	name := "holdfast"
	if release != "" {
		name += " " + release
	}
	if revision == "" {
		revision = "unknown"
	}
	return fmt.Sprintf("%s revision %s%s (%s, %s/%s)", name, revision, changed, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
