package s3

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/auth"
	"holdfast/gateway/s3err"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(1 << 40)
		if b.max != minBudget {
			t.Fatalf("budget of %d bytes", b.max)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := b.take(ctx, minBudget); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := b.take(ctx, 1); code(err) != s3err.SlowDown || time.Since(start) != budgetWait {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { b.sem.Release(minBudget) })
		if err := b.take(ctx, 1); err != nil {
			t.Errorf("after a release: %v", err)
		}
		time.AfterFunc(time.Second, cancel)
		if err := b.take(ctx, minBudget); !errors.Is(err, context.Canceled) {
			t.Errorf("client gone: %v", err)
		}
	})
}

// TestBegin takes a body's first piece and reads it as if nothing had been.
func TestBegin(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("0123456789", 1000)
	for _, whole := range []bool{false, true} {
		b, err := testBody(data, int64(len(data)), bodyOptions{max: 1 << 20, etag: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.begin(make([]byte, firstPiece)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(data))
		if whole {
			err = b.readAll(got)
		} else {
			got, err = io.ReadAll(b)
		}
		if err != nil || string(got) != data || b.size != int64(len(data)) {
			t.Errorf("whole %v: %d bytes, %v", whole, len(got), err)
		}
	}
	b, err := testBody("short", 10000, bodyOptions{max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.begin(make([]byte, firstPiece)); !errors.Is(err, auth.ErrIncompleteBody) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, auth.ErrIncompleteBody) {
		t.Errorf("and then %v", err)
	}
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	d := &dataPath{}
	for _, n := range []int{1, firstPiece, firstPiece + 1, 64<<10 + 1, 300_000, maxHeld} {
		b := d.buffer(n)
		if len(*b) != n {
			t.Errorf("buffer of %d, want %d", len(*b), n)
		}
		d.giveBack(b)
	}
}
