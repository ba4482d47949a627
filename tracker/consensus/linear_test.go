package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/tracker"
)

type registerOp struct {
	key   string
	write bool
	val   string
}

// register is a map of registers, one history for each key.
var register = porcupine.Model{
	Partition: func(ops []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := make(map[string][]porcupine.Operation)
		for _, op := range ops {
			k := op.Input.(registerOp).key
			by[k] = append(by[k], op)
		}
		for _, p := range by {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		op := in.(registerOp)
		if op.write {
			return true, op.val
		}
		return out.(string) == state.(string), state
	},
}

// Reads and writes are linearizable while leaders are cut off, in every mode
// of reading. A leader that is cut off goes on believing in itself, and reads
// that still go to it are what is tried here.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			cfg := group(t, 3, oneFS(vfs.NewMem()))
			cfg.Bootstrap, cfg.Strict = true, strict
			cfg.SlowWrite, cfg.DeadWrite = time.Hour, time.Hour // the test suspends
			l := mustOpen(t, cfg)
			defer mustClose(t, l)
			history := runRegisters(t, l, seed)
			if res := porcupine.CheckOperationsTimeout(register, history, 30*time.Second); res != porcupine.Ok {
				t.Fatalf("%d operations: %v", len(history), res)
			}
			t.Logf("%d operations, %d elections", len(history), l.Metrics().Elections)
		})
	}
}

func runRegisters(t *testing.T, l *Local, seed uint64) []porcupine.Operation {
	const clients, keys = 6, 3
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	begin := time.Now()
	stop := make(chan struct{})
	for id := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(id)))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				in := registerOp{key: fmt.Sprintf("%-16s", fmt.Sprint(rnd.IntN(keys))), write: rnd.IntN(2) == 0, val: fmt.Sprintf("%d.%d", id, i)}
				op := porcupine.Operation{ClientId: id, Input: in, Call: time.Since(begin).Nanoseconds()}
				ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
				out, err := doRegister(ctx, l, in)
				cancel()
				op.Output, op.Return = out, time.Since(begin).Nanoseconds()
				if errors.Is(err, tracker.ErrUncertain) && in.write {
					op.Return = time.Hour.Nanoseconds() // at any time from now on, or never
				} else if err != nil {
					if !errors.Is(err, tracker.ErrNotLeader) {
						t.Errorf("%+v: %v", in, err)
					}
					continue
				}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	pause := func(ms int) { <-time.After(time.Duration(rnd.IntN(ms)) * time.Millisecond) }
	for time.Since(begin) < time.Second {
		pause(60) // the length of a reign
		v := l.lead.Load()
		if v == nil || !v.suspended.CompareAndSwap(false, true) {
			continue
		}
		term := v.serving.Load()
		l.disconnect(v)
		v.interrupt()
		l.lead.CompareAndSwap(v, nil)
		l.kick()
		for until := time.Now().Add(time.Second); l.lead.Load() == nil && time.Now().Before(until); {
			pause(5)
		}
		// It takes itself for the leader still, and so do some readers.
		for range rnd.IntN(4) {
			v.serving.Store(term)
			l.lead.Store(v)
			pause(4)
		}
		v.serving.Store(0)
		l.lead.CompareAndSwap(v, nil)
		v.suspended.Store(false)
		l.connect(v)
		l.kick()
	}
	close(stop)
	wg.Wait()
	return history
}

func doRegister(ctx context.Context, l Log, in registerOp) (string, error) {
	if in.write {
		_, err := l.Propose(ctx, []byte(in.key+in.val), false)
		return "", err
	}
	r, release, err := l.Read(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	v, ok, err := r.Get(append([]byte{'k'}, in.key...), nil)
	if err != nil || !ok {
		return "", err
	}
	return strings.TrimPrefix(string(v[8:]), in.key), nil
}
