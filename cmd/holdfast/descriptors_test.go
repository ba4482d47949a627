package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestCheckDescriptors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit   uint64
		dirs    int
		refused bool
		warned  bool
	}{
		{limit: 0, dirs: 3},
		{limit: 63, dirs: 0, refused: true},
		{limit: 64, dirs: 0, warned: true},
		{limit: 2000, dirs: 0},
		{limit: 64, dirs: 1, refused: true},
		{limit: 128, dirs: 1, warned: true},
		{limit: 255, dirs: 3, refused: true},
		{limit: 256, dirs: 3, warned: true},
		{limit: 1024, dirs: 16, warned: true},
		{limit: 7999, dirs: 3, warned: true},
		{limit: 8000, dirs: 3},
		{limit: 1 << 63, dirs: 3},
	} {
		var log bytes.Buffer
		err := checkDescriptors(c.limit, c.dirs, zerolog.New(&log))
		if (err != nil) != c.refused || (log.Len() > 0) != c.warned {
			t.Errorf("%d for %d: %v, %s", c.limit, c.dirs, err, &log)
		}
		if err != nil && !strings.Contains(err.Error(), "LimitNOFILE=") {
			t.Error(err)
		}
	}
}
