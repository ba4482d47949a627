package clients

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/tests/harness"
)

func TestBoto3(t *testing.T) {
	t.Parallel()
	var pythons []string
	for _, python := range programs(t, "python3") {
		if exec.CommandContext(t.Context(), python, "-c", "import boto3").Run() == nil {
			pythons = append(pythons, python)
		}
	}
	if len(pythons) == 0 {
		missing(t, "boto3")
	}
	script, err := filepath.Abs("boto3_check.py")
	if err != nil {
		t.Fatal(err)
	}
	overBoth(t, func(t *testing.T, s *harness.Server) {
		for _, python := range pythons {
			t.Run(testName(python), func(t *testing.T) {
				c := newClient(t, s)
				body := random(t, 70_000)
				file := filepath.Join(c.dir, "body")
				if err := os.WriteFile(file, body, 0o600); err != nil {
					t.Fatal(err)
				}
				values, err := json.Marshal(checksumValues(body))
				if err != nil {
					t.Fatal(err)
				}
				t.Log(strings.TrimSpace(c.run(python, script, s.Endpoint(), file, string(values))))
			})
		}
	})
}
