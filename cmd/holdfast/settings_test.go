package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func environment(kv ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func testFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("t", pflag.ContinueOnError)
	f.String("config", "", "")
	f.String("address", ":9000", "")
	f.String("region", "us-east-1", "")
	f.StringSlice("domain", nil, "")
	f.Int("catalog-copies", 0, "")
	return f
}

func TestSettingsPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("address: :1\nregion: from-file\ndomain: [a.test, b.test]\ncatalog-copies: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := testFlags()
	if err := f.Parse([]string{"--address", ":3", "--config", file}); err != nil {
		t.Fatal(err)
	}
	if err := fill(f, environment("HOLDFAST_ADDRESS", ":2", "HOLDFAST_REGION", "from-env")); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	f.VisitAll(func(f *pflag.Flag) { got[f.Name] = f.Value.String() })
	want := map[string]string{"address": ":3", "region": "from-env", "domain": "[a.test,b.test]", "catalog-copies": "2", "config": file}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSettingsRefuse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, env, want string }{
		"unknown key":  {"adress: :1\n", "", `unknown key "adress"`},
		"not a number": {"catalog-copies: many\n", "", "catalog-copies"},
		"not a list":   {"domain: {a: b}\n", "", "neither a value nor a list"},
		"not yaml":     {"a: [\n", "", "configuration"},
		"bad env":      {"", "x", "HOLDFAST_CATALOG_COPIES"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			f := testFlags()
			if err := f.Parse([]string{"--config", file}); err != nil {
				t.Fatal(err)
			}
			env := environment()
			if tc.env != "" {
				env = environment("HOLDFAST_CATALOG_COPIES", tc.env)
			}
			if err := fill(f, env); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestExpandDirs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"/d{1...3}":            {"/d1", "/d2", "/d3"},
		"/r{1...2}/d{09...10}": {"/r1/d09", "/r1/d10", "/r2/d09", "/r2/d10"},
		"/plain":               {"/plain"},
	} {
		got, err := expandDirs([]string{in})
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, bad := range [][]string{{"/d{1...}"}, {"/d{3...1}"}, {"/d{1..3}"}, {"/d{1...3"}, {"/a", "/a"}, {"/d{1...300}"}} {
		if got, err := expandDirs(bad); err == nil {
			t.Errorf("%v: expanded to %v", bad, got)
		}
	}
}

func TestRootCredentials(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	made, created, err := rootCredentials(dirs, environment())
	if err != nil || !created {
		t.Fatalf("first start: %v, created %v", err, created)
	}
	if err := keepCredentials(dirs, made); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dirs[0], credentialsFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("kept with mode %v, %v", st.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dirs[0], credentialsFile)); err != nil {
		t.Fatal(err)
	}
	again, created, err := rootCredentials(dirs, environment())
	if err != nil || created || again != made {
		t.Errorf("second start without the first directory: %v, created %v, %v", again, created, err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, err := rootCredentials(dirs, environment("HOLDFAST_ROOT_USER", "someone", "HOLDFAST_ROOT_PASSWORD_FILE", secret))
	if err != nil || got != (credentials{"someone", "from-a-file"}) {
		t.Errorf("environment: %v, %v", got, err)
	}
	for _, bad := range [][]string{{"HOLDFAST_ROOT_USER", "ab", "HOLDFAST_ROOT_PASSWORD", "12345678"}, {"HOLDFAST_ROOT_USER", "abc", "HOLDFAST_ROOT_PASSWORD", "1234567"},
		{"HOLDFAST_ROOT_USER", "abc"}, {"HOLDFAST_ROOT_USER", "a/bc", "HOLDFAST_ROOT_PASSWORD", "12345678"}} {
		if _, _, err := rootCredentials(dirs, environment(bad...)); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"0": 0, "4096": 4096, "4KiB": 4096, "10MiB": 10 << 20, "1GB": 1e9, "2K": 2048} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "x", "1XB", "9999999999TiB"} {
		if got, err := parseBytes(bad); err == nil {
			t.Errorf("%q: %d", bad, got)
		}
	}
}
