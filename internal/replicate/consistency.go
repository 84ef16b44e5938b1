package replicate

import (
	"cmp"
	"context"
	"strings"
	"time"

	"understudy/internal/dr"
)

// freezeAgain is how soon a consistent point is tried for again that fell short: guests are not to be disturbed all the
// time by what they refuse.
const freezeAgain = 5 * time.Minute

// freezing is what the scheduler knows of a group's consistent points.
type freezing struct {
	asked   bool      // by a person, for the next cycle
	known   bool      // last is right: after a start the vault is asked
	last    time.Time // instant of the newest such point, or of one that fell short
	short   bool      // it did
	warning warning
}

// freezeDue reports whether the next point of a group is to be consistent for applications.
func (s *Scheduler) freezeDue(ctx context.Context, j *job, work Work) bool {
	s.mu.Lock()
	f := j.freezing
	s.mu.Unlock()
	if work.AppEvery <= 0 {
		if f.warning != (warning{}) {
			s.mu.Lock()
			s.warn(j, &j.freezing.warning, warning{})
			s.mu.Unlock()
		}
		return false
	}
	if !f.known {
		// Replication does not wait for an answer: without one such a point is made.
		look, cancel := context.WithTimeout(ctx, tryTime)
		points, _ := work.Cycler.Vault.Points(look, j.name)
		cancel()
		for _, p := range points {
			if p.Kind.Rank() > dr.CrashConsistent.Rank() {
				f.last = p.Time
			}
		}
		f.known = true
		s.mu.Lock()
		j.freezing.known, j.freezing.last = true, f.last
		s.mu.Unlock()
	}
	every := work.AppEvery
	if f.short {
		every = min(every, freezeAgain)
	}
	age := s.cfg.Now().Sub(f.last)
	// The cycle nearest to the time: the next one may come a whole objective later. A negative age: the clock went back.
	return age >= every-min(work.RPO, every)/2 || age < 0
}

// froze takes note of a cycle that was asked to be consistent.
func (s *Scheduler) froze(j *job, res Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &j.freezing
	f.known, f.last = true, res.Instant
	f.short = res.Shortfall != ""
	var w warning
	if f.short {
		kind := cmp.Or(res.Consistency, dr.CrashConsistent)
		w.text = "the last consistent point is only " + string(kind) + " consistent: " + strings.ReplaceAll(res.Shortfall, "\n", "; ")
		w.hint = "see that the guest agent runs and that the hooks succeed; replication goes on, and it is tried again"
	}
	s.warn(j, &f.warning, w)
}

// warning is something wrong beside replication, which goes on.
type warning struct{ text, hint string }

// warn replaces one of a group's warnings and shows what then is wrong. The lock is held.
func (s *Scheduler) warn(j *job, which *warning, w warning) {
	if *which == w {
		return
	}
	*which = w
	var texts, hints []string
	for _, w := range []warning{j.spooling, j.freezing.warning, j.retention.warning} {
		if w.text != "" {
			texts = append(texts, w.text)
		}
		if w.hint != "" {
			hints = append(hints, w.hint)
		}
	}
	j.status.Warning, j.status.WarningHint = strings.Join(texts, "; "), strings.Join(hints, "; ")
	s.told(j)
}
