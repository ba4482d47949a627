package worker

import (
	"context"

	"holdfast/tracker"
)

// maxLost bounds the list of blobs that cannot be repaired.
const maxLost = 100

// Progress is every worker's backlog by name, and the blobs under their target.
func (w *Workers) Progress() (queues map[string]tracker.Queue, below int64) {
	return w.Group.Queues(), w.Below()
}

// Repair tells how repair is going; see tracker.Administration.
func (w *Workers) Repair(context.Context) (*tracker.Repair, error) {
	s := w.repair.table.stats()
	out := &tracker.Repair{Below: w.Below(), Settled: w.Settled(), Done: s.done, Failed: s.failed, BytesDone: w.repair.bytes.Load(),
		ETA: w.ETA(), Lost: w.Unrecoverable(maxLost), Reconciled: w.Findings().Passes}
	out.ByRisk, out.Running = w.repair.table.risk()
	out.Waiting = s.length - out.Running
	if s.done > 0 {
		out.BytesLeft = out.BytesDone / int64(s.done) * s.length
	}
	for _, i := range w.Info() {
		out.Paused = out.Paused || i.Name == w.repair.Name() && i.State == "paused"
	}
	return out, nil
}
