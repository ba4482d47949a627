package engine

import "github.com/cockroachdb/pebble/v2"

// scheduler lets nothing be compacted in a database that has ended. Pebble
// would try again at once what failed as it was begun, as long as somebody
// reads the database.
type scheduler struct {
	pebble.CompactionScheduler
	g *Guard
}

// Register implements pebble.CompactionScheduler.
func (s scheduler) Register(workers int, db pebble.DBForCompaction) {
	s.CompactionScheduler.Register(workers, compacted{db, s.g})
}

// TrySchedule implements pebble.CompactionScheduler.
func (s scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if s.g.Err() != nil {
		return false, nil
	}
	return s.CompactionScheduler.TrySchedule()
}

// compacted is the database for the scheduler below.
type compacted struct {
	pebble.DBForCompaction
	g *Guard
}

// Schedule implements pebble.DBForCompaction.
func (c compacted) Schedule(grant pebble.CompactionGrantHandle) bool {
	return c.g.Err() == nil && c.DBForCompaction.Schedule(grant)
}

// GetWaitingCompaction implements pebble.DBForCompaction.
func (c compacted) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	if c.g.Err() != nil {
		return false, pebble.WaitingCompaction{}
	}
	return c.DBForCompaction.GetWaitingCompaction()
}
