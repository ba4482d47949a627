package consensus

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"holdfast/tracker/kv"
)

// counter is a machine with a row for each command and a running number: a
// command "key value" sets 'k'+key, and is answered with the number.
type counter struct{}

var keyCount = []byte("count")

func (counter) Apply(txn kv.Txn, _ uint64, cmds [][]byte) ([]any, error) {
	out := make([]any, len(cmds))
	b, _, err := txn.Get(keyCount, nil)
	if err != nil {
		return nil, err
	}
	var n uint64
	if len(b) == 8 {
		n = binary.LittleEndian.Uint64(b)
	}
	for i, c := range cmds {
		n++
		row := append(binary.LittleEndian.AppendUint64(nil, n), c...)
		if err := txn.Set(append([]byte{'k'}, c[:min(16, len(c))]...), row); err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, txn.Set(keyCount, binary.LittleEndian.AppendUint64(nil, n))
}

func testLogger(t testing.TB) zerolog.Logger {
	if !testing.Verbose() {
		return zerolog.Nop()
	}
	return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.DebugLevel)
}

// group makes the configuration of n voters on fs, one directory each.
func group(t testing.TB, n int, fs func(i int) vfs.FS) LocalConfig {
	c := LocalConfig{ClusterID: "test", Machine: func(int) Machine { return counter{} }, Logger: testLogger(t), commitTimeout: 5 * time.Millisecond}
	for i := range n {
		c.Voters = append(c.Voters, Voter{ID: fmt.Sprintf("v%d", i), FS: fs(i), Dir: fmt.Sprintf("/disk%d/catalog", i)})
	}
	return c
}

func oneFS(fs vfs.FS) func(int) vfs.FS { return func(int) vfs.FS { return fs } }

func mustOpen(t testing.TB, cfg LocalConfig) *Local {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := OpenLocal(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t testing.TB, l *Local) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustPropose(t testing.TB, l *Local, cmd string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	v, err := l.Propose(ctx, []byte(cmd), false)
	if err != nil {
		t.Fatalf("propose %q: %v", cmd, err)
	}
	return v.(uint64)
}

// lookup reads the value of a command's key, "" if there is none.
func lookup(t testing.TB, l *Local, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, release, err := l.Read(ctx)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	defer release()
	v, ok, err := r.Get(append([]byte{'k'}, key...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	return string(v[8:])
}
