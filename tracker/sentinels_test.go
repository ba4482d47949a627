package tracker

import (
	"os"
	"regexp"
	"testing"
)

// TestSentinels finds a sentinel that was forgotten in the list: it would lose
// its meaning on the way between two processes.
func TestSentinels(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("tracker.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, s := range Sentinels() {
		listed[s.Code()] = true
	}
	made := regexp.MustCompile(`fault\.New\([^"]*"([^"]+)"`).FindAllSubmatch(src, -1)
	if len(made) != len(listed) || len(made) == 0 {
		t.Errorf("%d sentinels are made, %d are listed", len(made), len(listed))
	}
	for _, m := range made {
		if !listed[string(m[1])] {
			t.Errorf("%s is not listed", m[1])
		}
	}
}
