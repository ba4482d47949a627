package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settings sets the flags of a role that were not given on the command line.
// A variable that looks like a misspelt setting is an error, since a scheme
// that is not taken stays so for ever; any other unknown one is logged.
func settings(cmd *cobra.Command) error {
	known := knownNames(cmd.Root())
	odd, err := checkEnvironment(known, os.Environ())
	if err != nil {
		return err
	}
	log, err := logger("warn")
	if err != nil {
		return err
	}
	for _, name := range odd {
		log.Warn().Str("name", name).Str("nearest", nearest(name, known)).Msg("environment variable is no setting of holdfast and is not used")
	}
	return fill(cmd.Flags(), os.LookupEnv)
}

const envPrefix = "HOLDFAST_"

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// knownNames are the environment variables that some role reads: the roles of
// a machine may share a file of them.
func knownNames(root *cobra.Command) map[string]bool {
	known := map[string]bool{}
	for _, name := range []string{rootPair[0], rootPair[1], clusterSecret, oldSecret} {
		known[name], known[name+"_FILE"] = true, true
	}
	for _, cmd := range root.Commands() {
		if cmd.Flags().Lookup("config") != nil {
			cmd.Flags().VisitAll(func(f *pflag.Flag) { known[envName(f.Name)] = true })
		}
	}
	return known
}

// ofKubernetes are the variables that a service called holdfast brings.
var ofKubernetes = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$`)

// checkEnvironment looks for variables that are meant for holdfast and known
// by no command. It refuses those that are nearly known, and returns the rest.
func checkEnvironment(known map[string]bool, environ []string) (odd []string, err error) {
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || known[name] || ofKubernetes.MatchString(name) {
			continue
		}
		if near := nearest(name, known); distance(name, near) <= min(len(rest)/5, 2) {
			return nil, fmt.Errorf("environment variable %s is no setting; did you mean %s?", name, near)
		}
		odd = append(odd, name)
	}
	return odd, nil
}

// nearest returns the known name that takes the fewest changes.
func nearest(name string, known map[string]bool) (best string) {
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if best == "" || distance(name, k) < distance(name, best) {
			best = k
		}
	}
	return best
}

// distance is how many letters must be put in, left out or changed to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// fill sets every flag that was not given on the command line from the
// environment (HOLDFAST_NAME), else from the YAML file named by --config.
// Keys of the file are flag names; an unknown one is an error.
func fill(flags *pflag.FlagSet, env func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		if v, ok := env(name); ok && !f.Changed {
			if err := setFlag(flags, f, strings.Split(v, ",")); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	path, err := flags.GetString("config")
	if err != nil || path == "" {
		return err
	}
	return fillFromFile(flags, path)
}

func fillFromFile(flags *pflag.FlagSet, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	keys := map[string]yaml.Node{}
	if err := yaml.Unmarshal(data, &keys); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	for key, node := range keys {
		f := flags.Lookup(key)
		if f == nil || key == "config" || key == "help" {
			return fmt.Errorf("configuration %s: unknown key %q; the keys are the names of the flags of holdfast server", path, key)
		}
		if f.Changed {
			continue
		}
		values, err := scalars(&node)
		if err != nil {
			return fmt.Errorf("configuration %s: %s: %w", path, key, err)
		}
		if err := setFlag(flags, f, values); err != nil {
			return fmt.Errorf("configuration %s: %s: %w", path, key, err)
		}
	}
	return nil
}

// scalars returns the node's one value or its list of values.
func scalars(n *yaml.Node) ([]string, error) {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}, nil
	}
	var list []string
	if err := n.Decode(&list); err != nil {
		return nil, fmt.Errorf("neither a value nor a list of values")
	}
	return list, nil
}

func setFlag(flags *pflag.FlagSet, f *pflag.Flag, values []string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		f.Changed = true
		return list.Replace(values)
	}
	return flags.Set(f.Name, strings.Join(values, ","))
}
