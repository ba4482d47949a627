package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// exactly takes n arguments, and else says how the command is used.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fmt.Errorf("usage: %s (%s --help says more)", cmd.UseLine(), cmd.CommandPath())
	}
}

// family marks a command that only holds others.
const family = "family"

// explain has a wrong flag or command name answered with what to do next, and
// with an error: of its own cobra prints the help of "holdfast admin" for
// "holdfast admin stauts", and calls that a success.
func explain(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	})
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", `{{if and .Runnable (not (index .Annotations "`+family+`"))}}`, 1))
	for _, c := range root.Commands() {
		explainFamily(c)
	}
}

func explainFamily(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		explainFamily(c)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() {
		return
	}
	cmd.Annotations = map[string]string{family: "true"}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		meant := ""
		if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
			meant = "; did you mean " + strings.Join(s, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q%s (%s --help lists them)", cmd.CommandPath(), args[0], meant, cmd.CommandPath())
	}
}
