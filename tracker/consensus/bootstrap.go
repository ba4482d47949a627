package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"holdfast/tracker/consensus/raftlog"
	"holdfast/tracker/kv"
)

// bootstrap begins the voters that have not begun, with one configuration. If
// some have, that must be a bootstrap cut short: nobody ever voted.
func (l *Local) bootstrap(voters []*voter) error {
	var conf raft.Configuration
	for _, v := range voters {
		if err := v.cause(); err != nil {
			return fmt.Errorf("voter %s: %w", v.ID, err)
		}
		if v.id == nil {
			continue
		}
		term, err := v.store.GetUint64([]byte("CurrentTerm"))
		last, _ := v.store.LastIndex()
		var first raft.Log
		if err = errors.Join(err, v.store.GetLog(1, &first)); err != nil || term != 1 || last != 1 {
			return errors.Join(fmt.Errorf("voter %s (%s) holds a catalog", v.ID, v.Dir), err)
		}
		conf = raft.DecodeConfiguration(first.Data)
	}
	if len(conf.Servers) == 0 {
		for _, v := range voters {
			s := newServer(v.ID)
			conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(s), Address: raft.ServerAddress(s)})
		}
	}
	if len(conf.Servers) != len(voters) {
		return errors.New("an unfinished bootstrap had other voters")
	}
	for _, v := range voters {
		if err := v.begin(l.parts, conf); err != nil {
			return fmt.Errorf("bootstrap of voter %s: %w", v.ID, err)
		}
	}
	return nil
}

// begin makes an empty state and the first entry of a new group's log, unless
// that was done.
func (v *voter) begin(p *parts, conf raft.Configuration) error {
	if v.id != nil {
		return nil
	}
	for _, s := range conf.Servers {
		if voterOf(s.ID) != v.ID {
			continue
		}
		// The state must be there durably before the identity says so.
		err := v.make("state", func(dir string) (io.Closer, error) {
			return kv.Open(v.FS, dir, kv.Options{Cache: p.cache, Logger: v.log})
		})
		if err != nil {
			return err
		}
		v.id = &raftlog.Identity{Cluster: p.cfg.ClusterID, Voter: v.ID, Server: string(s.ID), State: "state", Vote: true}
		return v.store.Bootstrap(v.id, raft.EncodeConfiguration(conf))
	}
	return errors.New("an unfinished bootstrap had other voters")
}

// sort fails the voters that are not of the newest group, and opening if there
// is none at all or one is of another cluster.
func (l *Local) sort(voters []*voter) error {
	var recovery uint64
	var causes []error
	for _, v := range voters {
		if err := v.cause(); err != nil {
			causes = append(causes, fmt.Errorf("voter %s (%s): %w", v.ID, v.Dir, err))
		} else {
			recovery = max(recovery, v.id.Recovery)
		}
	}
	if len(causes) == len(voters) {
		return errors.Join(causes...)
	}
	for _, v := range voters {
		if v.cause() == nil && v.id.Recovery < recovery {
			v.fail(errors.New("voter was left out when the group was recovered"))
		}
	}
	return nil
}

// leadingConf returns the latest configuration of the most advanced voter and
// fails those that it does not name.
func (l *Local) leadingConf(voters []*voter) (raft.Configuration, error) {
	var best *voter
	for _, v := range voters {
		if v.cause() == nil && (best == nil || best.behind(v)) {
			best = v
		}
	}
	if best == nil {
		var errs []error
		for _, v := range voters {
			errs = append(errs, fmt.Errorf("voter %s (%s): %w", v.ID, v.Dir, v.cause()))
		}
		return raft.Configuration{}, errors.Join(errs...)
	}
	conf, err := best.latestConf()
	if err != nil {
		return conf, fmt.Errorf("voter %s: %w", best.ID, err)
	}
	for _, v := range voters {
		if v.cause() != nil || hasVote(conf, v.server) {
			continue
		}
		if v.id.Vote {
			v.fail(errors.New("voter was removed from the group"))
		} else {
			v.fail(fmt.Errorf("%w: its seeding was cut short", errEmpty))
		}
	}
	return conf, nil
}

// latestConf returns the newest configuration in state and log.
func (v *voter) latestConf() (raft.Configuration, error) {
	pos := v.fsm.position()
	conf := pos.conf
	first, _ := v.store.FirstIndex()
	last, _ := v.store.LastIndex()
	var l raft.Log
	for i := max(first, pos.confIndex+1); i != 0 && i <= last; i++ {
		if err := v.store.GetLog(i, &l); err != nil {
			return raft.Configuration{}, err
		}
		if l.Type == raft.LogConfiguration {
			conf = l.Data
		}
	}
	if len(conf) == 0 {
		return raft.Configuration{}, errors.New("voter knows no configuration")
	}
	return raft.DecodeConfiguration(conf), nil
}

// lastEntry returns term and index of the newest entry.
func (v *voter) lastEntry() (term, index uint64) {
	v.guard.use(func() {
		var l raft.Log
		last, _ := v.store.LastIndex()
		if last != 0 && v.store.GetLog(last, &l) == nil {
			term, index = l.Term, l.Index
		} else if n, err := v.store.Snapshot(); err == nil && n != nil {
			term, index = n.Term, n.Index
		}
	})
	return term, index
}

// behind reports whether Raft would rather have w lead.
func (v *voter) behind(w *voter) bool {
	t, i := v.lastEntry()
	u, j := w.lastEntry()
	return u > t || u == t && j > i
}

// serverIDs returns the voters of a configuration.
func serverIDs(conf raft.Configuration) []string {
	var ids []string
	for _, s := range conf.Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}
