package crash

import (
	"maps"
)

func starts() []scenario {
	return []scenario{
		{"first start", both, false, func(x *run) {
			x.record(func() {
				x.start()
				x.put("a", inline)
				x.put("b", packed)
			})
		}},
		{"stop", both, false, func(x *run) {
			x.start()
			fillDisks(x)
			x.record(x.halt)
		}},
		{"start", both, false, func(x *run) {
			x.start()
			fillDisks(x)
			x.halt()
			x.record(func() {
				x.launch()
				x.put("b", packed)
			})
		}},
		{"start after a crash", both, true, recovery},
	}
}

// recovery cuts the power again while a start repairs what a crash under load
// left.
func recovery(x *run) {
	manyClients(x)
	x.halt()
	first := x.tape
	picks := first.mu.cuts
	first.mu.cuts, first.mu.points = nil, 0
	clear(first.mu.kinds)
	for range 4 {
		k := picks[first.mu.rng.IntN(len(picks))]
		x.tape = newTape(k.fs.CrashClone(100, nil), first.mu.rng.Uint64())
		x.tape.mu.acked = maps.Clone(k.known.acked)
		for _, c := range k.known.running {
			x.tape.mu.running[c] = true
		}
		x.record(x.launch)
		x.halt()
		for _, c := range x.tape.mu.cuts {
			c.at = k.at + "; then " + c.at
			if c.point > 0 {
				c.point += first.mu.points
			}
			first.mu.cuts = append(first.mu.cuts, c)
		}
		first.mu.points += x.tape.mu.points
		for kind, n := range x.tape.mu.kinds {
			first.mu.kinds[kind] += n
		}
	}
	x.tape = first
}
