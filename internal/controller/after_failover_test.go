package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/replicate"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// seen counts the captures of each group at each site.
type seen struct {
	mu    sync.Mutex
	count map[string]int // by site/group
}

func (c *seen) of(siteName, group string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[siteName+"/"+group]
}

type watchedSite struct {
	site.Driver
	name string
	seen *seen
}

// Capture counts, then captures.
func (w watchedSite) Capture(ctx context.Context, r site.CaptureRequest) (site.Capture, error) {
	w.seen.mu.Lock()
	w.seen.count[w.name+"/"+r.Group]++
	w.seen.mu.Unlock()
	return w.Driver.Capture(ctx, r)
}

// watch has the sites opened from now on watched.
func (s *stage) watch() *seen {
	c := &seen{count: map[string]int{}}
	openSite := s.cfg.OpenSite
	s.cfg.OpenSite = func(v dr.Site) (site.Driver, error) {
		d, err := openSite(v)
		return watchedSite{d, v.Name, c}, err
	}
	return c
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (s *stage) run(t *testing.T, kind string) store.Run {
	t.Helper()
	run, err := s.StartRun(t.Context(), kind, "shop", "", "tester")
	if err != nil {
		t.Fatal(err)
	}
	return s.reach(t, run, store.RunSucceeded)
}

// TestNoCaptureAfterFailover restarts the controller in every state that follows a failover: the group is captured at
// neither site, whatever is asked for, while another group at the same site is.
func TestNoCaptureAfterFailover(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	addMachine(t, s.east, "other")
	other := shop
	other.Name, other.Machines = "other", []dr.MachinePolicy{{Name: "other"}}
	for _, g := range []dr.Group{shop, other} {
		if _, err := s.Protect(ctx, g); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sync(ctx, g.Name); err != nil {
			t.Fatal(err)
		}
	}
	s.run(t, recovery.KindFailover)
	for _, state := range []dr.State{dr.StateFailover, dr.StateFailoverFailed, dr.StateFailedOver, dr.StateCommitted} {
		if _, err := s.store.ChangeProtection(ctx, "shop", func(p *store.Protection) error { p.State = state; return nil }); err != nil {
			t.Fatal(err)
		}
		at := "west"
		if state == dr.StateFailover || state == dr.StateFailoverFailed {
			at = "east" // the group's site changes when the failover is complete
		}
		if err := s.store.ChangeGroup(ctx, "shop", func(g *dr.Group) error { g.Site = at; return nil }); err != nil {
			t.Fatal(err)
		}
		s.end()
		captures := s.watch()
		open(t, s)
		if err := s.Resume(ctx, "shop"); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
			t.Errorf("%s: resume: %v", state, err)
		}
		if _, err := s.Sync(ctx, "shop"); dr.KindOf(err) != dr.KindConflict {
			t.Errorf("%s: sync: %v", state, err)
		}
		until(t, "the other group is captured three times", func() bool { return captures.of("east", "other") >= 3 })
		if e, w := captures.of("east", "shop"), captures.of("west", "shop"); e+w > 0 {
			t.Errorf("%s: captured %d times at east, %d times at west", state, e, w)
		}
		if st := status(t, s); st.Replication != replicate.StatePaused || st.Error != "" || at == "west" && st.RPOMet {
			t.Errorf("%s: %+v", state, st)
		}
	}
}

// TestFencedWithoutRecord kills, so to speak, the controller right after the vault was given to the target: its records
// say that the group is protected at its old site, the vault refuses it, and nothing is captured.
func TestFencedWithoutRecord(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	v, err := s.vault(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	s.end()
	if _, err := v.TakeOver(ctx, "shop", "west", "someone", time.Minute); err != nil {
		t.Fatal(err)
	}
	captures := s.watch()
	open(t, s)
	until(t, "the group is fenced", func() bool { return status(t, s).Replication == replicate.StateFenced })
	if n := captures.of("east", "shop"); n != 0 {
		t.Errorf("captured %d times", n)
	}
	if st := status(t, s); st.Error == "" || st.Hint == "" {
		t.Errorf("%+v", st)
	}
}

func TestStatusAfterFailover(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	run := s.run(t, recovery.KindFailover)
	st := status(t, s)
	if got := st.Allowed(); !slices.Contains(got, dr.OpCommit) || st.Active != "" {
		t.Errorf("after the failover %v may be asked, and %q is under way", got, st.Active)
	}
	st.Active = run.ID // what takes another run is refused until that has ended
	if got := st.Allowed(); len(got) != 0 {
		t.Errorf("while a run is under way %v may be asked", got)
	}
	st.Active, st.Protection.State = "", dr.StatePlannedFailoverFailed
	if got := st.Allowed(); !slices.Equal(got, []dr.Operation{dr.OpPlannedFailover, dr.OpFailover}) {
		t.Errorf("after a planned failover that failed %v may be asked", got)
	}
	_, res, err := s.recovery.Result(ctx, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.end()
	s.cfg.Now = func() time.Time { return time.Now().Add(10 * time.Minute) }
	s.west.Now = s.cfg.Now
	open(t, s)
	for _, state := range []dr.State{dr.StateFailedOver, dr.StateCommitted} {
		if state == dr.StateCommitted {
			s.run(t, recovery.KindCommit)
		}
		st := status(t, s)
		if st.Protection.State != state || st.Group.Site != "west" || st.LiveSince.IsZero() || !st.LiveSince.Equal(res.LiveSince()) {
			t.Errorf("%s: %+v", state, st)
		}
		if !st.Recoverable || st.RPOMet || st.Lose < 10*time.Minute || st.Lose > 11*time.Minute || st.LastPoint != res.Point || !st.KnownGood.Equal(res.PointTime) {
			t.Errorf("%s: lose %s, known good %s, %+v", state, st.Lose, st.KnownGood, st)
		}
	}
	// What the command line advises: the group can be protected again where it runs.
	if err := s.Unprotect(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	again := shop
	again.Site, again.Target = "west", ""
	if _, err := s.Protect(ctx, again); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if st := status(t, s); !st.LiveSince.IsZero() || !st.RPOMet || st.LastPoint == res.Point || st.Group.Site != "west" {
		t.Errorf("protected again: %+v", st)
	}
}

// TestStatusAfterRestart looks at a group right after a start, before its first cycle has ended: what is wrong is still
// wrong, and what would be lost is counted from what the vault was last known to hold.
func TestStatusAfterRestart(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	broken := dr.WithHint(errors.New("no route to host"), dr.KindUnavailable, "look at the switch")
	for range 50 {
		s.east.FailNext(fake.OpCapture, broken)
	}
	until(t, "replication fails", func() bool { return status(t, s).Failures > 0 })
	before := status(t, s)
	s.end()
	held := make(chan struct{})
	defer close(held)
	openSite := s.cfg.OpenSite
	s.cfg.OpenSite = func(v dr.Site) (site.Driver, error) {
		d, err := openSite(v)
		return heldSite{d, held}, err
	}
	s.cfg.Now = func() time.Time { return time.Now().Add(time.Hour) }
	open(t, s)
	for range 2 { // at once, and when the status has been saved
		st := status(t, s)
		if st.Failures < before.Failures || st.Hint != "look at the switch" || st.Error == "" {
			t.Errorf("the failure is forgotten: %+v", st)
		}
		if st.RPOMet || !st.Recoverable || st.Lose < time.Hour || st.KnownGood.Before(before.KnownGood) {
			t.Errorf("lose %s, objective met: %v", st.Lose, st.RPOMet)
		}
		until(t, "the status is saved", func() bool {
			saved, err := s.store.Status(ctx, "shop")
			return err == nil && saved.State == replicate.StateRunning
		})
	}
}

// heldSite captures nothing until it is let go or given up.
type heldSite struct {
	site.Driver
	held chan struct{}
}

// Capture waits.
func (h heldSite) Capture(ctx context.Context, _ site.CaptureRequest) (site.Capture, error) {
	select {
	case <-h.held:
	case <-ctx.Done():
	}
	return nil, context.Canceled
}

func TestSlowSourceMissesItsObjective(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	s.end()
	now := time.Now()
	s.cfg.Now = func() time.Time { return now }
	open(t, s)
	for name, c := range map[string]struct {
		age, took time.Duration
		met       bool
	}{
		"fresh":              {time.Second / 2, 0, true},
		"one cycle late":     {1300 * time.Millisecond, 400 * time.Millisecond, true},
		"after a long seed":  {10 * time.Minute, time.Hour, false},
		"slow":               {1900 * time.Millisecond, 2 * time.Second, false},
		"clock of the guest": {-time.Minute, 0, true},
	} {
		st := Status{Group: shop, RPO: time.Second, KnownGood: now.Add(-c.age), LastCycle: replicate.Result{Took: c.took}}
		if err := s.lose(&st, &records{}); err != nil || st.RPOMet != c.met || st.Lose != max(0, c.age) {
			t.Errorf("%s: met %v, lose %s, %v", name, st.RPOMet, st.Lose, err)
		}
	}
}
