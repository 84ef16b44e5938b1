package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault"
)

// When a group's recovery points are thinned out: every compactEvery while there is something to do, earlier when
// compactPoints have come, and now and then in any case, since points age.
const (
	compactEvery   = 5 * time.Minute
	compactPoints  = 64
	compactSoonest = time.Minute
	compactIdle    = time.Hour
)

// retention is what the scheduler knows of a group's compactions. They run beside its cycles, on the same lease.
type retention struct {
	work    Work          // of the last successful cycle
	since   time.Time     // when the last compaction ended, or the group was added
	points  int           // made since then
	waiting bool          // objects wait for their deletion, or the last compaction failed
	queued  bool          // or under way
	cancel  func()        // nil when none is under way
	done    chan struct{} // closed when the one under way has ended
	warning warning
}

// due reports whether there is enough to do.
func (r *retention) due(now time.Time) bool {
	age := now.Sub(r.since)
	return r.points >= compactPoints && age >= compactSoonest || (r.points > 0 || r.waiting) && age >= compactEvery || age >= compactIdle
}

// made takes note of a cycle that succeeded, and queues a compaction when one is due. The lock is held.
func (s *Scheduler) made(j *job, work Work, res Result) {
	r := &j.retention
	r.work = work
	if res.Point != nil {
		r.points++
	}
	// What cannot be read cannot be merged: whoever holds the key compacts such a vault.
	if !r.queued && !j.paused && res.Spooled == 0 && work.Cycler.Vault.CanRead() && r.due(s.cfg.Now()) {
		r.queued = true
		s.compactions = append(s.compactions, j)
	}
}

// startCompactions starts those that are queued, the longest waiting first, as far as the bound allows.
func (s *Scheduler) startCompactions(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.compactions) > 0 && s.compacting < s.cfg.Compactors {
		j := s.compactions[0]
		s.compactions = s.compactions[1:]
		if j.paused || j.removed {
			j.retention.queued = false
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		j.retention.cancel, j.retention.done = cancel, make(chan struct{})
		s.compacting++
		s.wg.Add(1)
		go s.runCompaction(ctx, j, j.retention.work, j.retention.points)
	}
}

func (s *Scheduler) runCompaction(ctx context.Context, j *job, work Work, points int) {
	defer s.wg.Done()
	began := s.cfg.Now()
	stats, err := s.compact(ctx, j, work)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &j.retention
	stopped := ctx.Err() != nil
	r.cancel()
	r.cancel, r.queued = nil, false
	r.since = s.cfg.Now()
	if !stopped {
		s.compacted(j, err)
	}
	r.points -= points
	r.waiting = stats.Waiting > 0 || err != nil
	if err == nil {
		s.cfg.Logger.Debug("compacted", "group", j.name, "kept", stats.Points, "dropped", stats.Dropped, "merged", stats.Merged,
			"deleted", stats.Deleted, "took", r.since.Sub(began))
	}
	close(r.done)
	s.compacting--
	s.poke()
}

// compacted shows what is wrong with retention beside replication, which goes on.
func (s *Scheduler) compacted(j *job, err error) {
	var text, hint string
	switch kind := dr.KindOf(err); {
	case err == nil:
	case kind == dr.KindFenced || kind == dr.KindConflict || errors.Is(err, context.Canceled):
		// The lease is another's by now, which the next cycle finds out and shows if it matters.
		s.cfg.Logger.Debug("compaction given up", "group", j.name, "err", err)
		return
	default:
		text, hint = fmt.Sprintf("old recovery points are not thinned out: %v", err), dr.Hint(err)
		s.cfg.Logger.Warn("compaction failed", "group", j.name, "err", err)
	}
	s.warn(j, &j.retention.warning, warning{text, hint})
}

func (s *Scheduler) compact(ctx context.Context, j *job, work Work) (vault.CompactStats, error) {
	lease, err := s.leaseToCompact(ctx, j, work)
	if err != nil {
		return vault.CompactStats{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go keepLease(ctx, cancel, lease, s.cfg.Logger)
	return work.Cycler.Vault.Compact(ctx, lease, work.Keep)
}

// leaseToCompact returns the group's lease, renewed. It never takes the place of a valid one: a cycle may be using it.
func (s *Scheduler) leaseToCompact(ctx context.Context, j *job, work Work) (*vault.Lease, error) {
	j.leasing.Lock()
	defer j.leasing.Unlock()
	if j.lease != nil && j.lease.Valid() {
		return j.lease, j.lease.Renew(ctx)
	}
	return s.acquire(ctx, j, work)
}
