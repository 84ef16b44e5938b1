package sitetest

import (
	"understudy/internal/dr"
	"understudy/internal/site"
)

// forget: what changed since a capture is not known any more, running or stopped, while another group's is.
func (s *suite) forget() {
	f := ability[site.Forgetter](s)
	id := s.needCapture()
	s.must(f.Forget(s.ctx, "mine", []string{s.Machine, "no-such-machine"}))
	capture := func(group, name, since string) site.Changes {
		s.Helper()
		c, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: group, Machines: []string{s.Machine}, ID: name, Since: since})
		s.must(err)
		s.wantKind(f.Forget(s.ctx, group, []string{s.Machine}), dr.KindConflict)
		changes := s.changes(s.captured(c, id))
		s.must(c.Commit(s.ctx))
		return changes
	}
	capture("mine", "one", "")
	capture("other", "two", "")
	s.Write(s, id, 0, block(9))
	s.must(f.Forget(s.ctx, "mine", []string{s.Machine}))
	s.must(f.Forget(s.ctx, "mine", []string{s.Machine}))
	if c := capture("mine", "three", "one"); !c.Full {
		s.Error("changes are known that were to be forgotten")
	}
	if c := capture("other", "four", "two"); c.Full {
		s.Errorf("another group's tracking is gone: %s", c.Reason)
	}
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerKill))
	s.must(f.Forget(s.ctx, "mine", []string{s.Machine}))
	s.must(f.Forget(s.ctx, "other", []string{s.Machine}))
	s.must(f.Forget(s.ctx, "other", []string{s.Machine}))
}
