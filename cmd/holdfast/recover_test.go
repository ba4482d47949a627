package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"holdfast/cmd/cluster"
)

// TestWriteCopy: a person who chooses what to go on from is told of a last
// change, or that none is known, and never of one in 1970.
func TestWriteCopy(t *testing.T) {
	t.Parallel()
	c := &cluster.TrackerCopy{Dir: "/d1", Tracker: "t1", Term: 7, Index: 40}
	for _, at := range []time.Time{{}, time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)} {
		c.LastChange = at
		want, key := "none is known", false
		if !at.IsZero() {
			want, key = "2026-05-04T03:02:01Z", true
		}
		var table, text bytes.Buffer
		if err := writeCopy(&table, c, false); err != nil {
			t.Fatal(err)
		}
		if err := writeCopy(&text, c, true); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(table.String(), "last change to objects  "+want+"\n") || strings.Contains(text.String(), `"LastChange"`) != key {
			t.Errorf("%v: %s\n%s", at, &table, &text)
		}
	}
}
