package consensus

import (
	"errors"
	"fmt"
	"slices"

	"holdfast/tracker"
	"holdfast/tracker/consensus/raftlog"
)

// fill takes one try to fill the directory, or to begin a group.
//
// Of several that were told to begin, the one with the lowest ID does: the
// others yield, which is to say of themselves that they were not told. That no
// two begin: one begins only in a try in which it said "told" from before it
// asked until it has begun, and in which each other said "not told"; so the
// other's own try starts after that answer, and hears "told" or "not empty".
func (r *Replica) fill() error {
	var found []candidate
	var errs []error
	empty, others, rival := 0, 0, ""
	yielded := r.yields.Load()
	for _, m := range r.everybody() {
		others++
		st, addr, err := r.askState(m)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s at %s: %w", m.ID, addr, err))
		case st.Empty && st.Unfinished:
			errs = append(errs, conflict("%s at %s holds an unfinished copy of a catalog", m.ID, addr))
		case st.Empty:
			empty++
			if st.Bootstrap && (rival == "" || st.ID < rival) {
				rival = st.ID
			}
		case !st.Suspended:
			found = append(found, candidate{addr, st})
		}
	}
	switch {
	case len(found) > 0:
		return r.fillFrom(found)
	case !r.cfg.Bootstrap:
		return errors.Join(append([]error{fmt.Errorf("%w: no other replica has a catalog to copy yet", tracker.ErrUnavailable)}, errs...)...)
	case empty < others:
		return errors.Join(append([]error{fmt.Errorf("%w: a new catalog is begun only once every other tracker has answered that it has none",
			tracker.ErrUnavailable)}, errs...)...)
	case rival != "" && rival < r.cfg.ID:
		r.yields.Store(true)
		return fmt.Errorf("%w: tracker %s was told to begin a catalog too, and does; this one will copy it", tracker.ErrUnavailable, rival)
	case rival != "":
		return fmt.Errorf("%w: tracker %s was told to begin a catalog too; waiting for it to leave that to this one", tracker.ErrUnavailable, rival)
	case yielded:
		// Whom it yielded to is not told any more. It says so first, and asks again.
		r.yields.Store(false)
		return fmt.Errorf("%w: no other tracker begins a catalog any more; asking once more", tracker.ErrUnavailable)
	}
	return r.bootstrap()
}

// candidate is a replica that has a state.
type candidate struct {
	addr string
	st   *ReplicaState
}

// fillFrom copies one of the replicas: the one that was begun with, else a
// voter that does not lead, else any.
func (r *Replica) fillFrom(found []candidate) error {
	var recovery uint64
	for _, c := range found {
		recovery = max(recovery, c.st.Recovery)
	}
	found = slices.DeleteFunc(found, func(c candidate) bool { return c.st.Recovery < recovery })
	last := r.lastSource()
	rank := func(c candidate) int {
		switch {
		case c.st.Server == last:
			return 0
		case c.st.Leader != "" && c.st.Leader != c.st.Server:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return rank(a) - rank(b) })
	var errs []error
	for _, c := range found {
		err := r.copyFrom(c)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("copy the catalog of %s: %w", c.st.ID, err))
		if r.ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// startSeeded makes the copied files the state, begins the log behind it and
// starts the voter. It is a server that never was before.
func (r *Replica) startSeeded(m *Manifest) error {
	v := newVoter(r.cfg.Voter, r.cfg.Machine, r.parts, r.voterFailed)
	err := v.beginSeeded(r.parts, m)
	if err == nil {
		err = v.assemble(r.parts)
	}
	if err == nil {
		err = r.start(v)
	}
	if err != nil {
		return r.discard(v, err)
	}
	close(v.opened)
	if err := r.cfg.FS.RemoveAll(v.path(seedDir)); err != nil {
		v.log.Warn().Err(err).Msg("cannot remove what seeding left")
	}
	v.log.Info().Uint64("index", m.Index).Msg("catalog was copied from another tracker")
	return nil
}

// beginSeeded moves the copied files to the state and writes identity and
// snapshot. A crash before the end leaves a directory that counts as empty.
func (v *voter) beginSeeded(p *parts, m *Manifest) error {
	if err := v.openLog(p, true); err != nil {
		return err
	}
	if v.id != nil {
		return errors.New("directory holds a voter")
	}
	files := v.FS.PathJoin(v.path(seedDir), seedFiles)
	if err := errors.Join(v.FS.Rename(files, v.path("state")), syncDir(v.FS, v.Dir)); err != nil {
		return err
	}
	s, pos, err := v.openState(p, "state")
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if pos.confIndex == 0 || pos.index < m.Index {
		return fmt.Errorf("%w: the copy is at entry %d, not %d", raftlog.ErrCorrupt, pos.index, m.Index)
	}
	v.id = &raftlog.Identity{Cluster: p.cfg.ClusterID, Voter: v.ID, Server: newServer(v.ID), State: "state", Recovery: m.Recovery}
	// The configuration is the copy's own: the leader's may be newer.
	return v.store.Seed(v.id, &raftlog.Snapshot{Index: pos.index, Term: pos.term, ConfIndex: pos.confIndex, Conf: pos.conf})
}
