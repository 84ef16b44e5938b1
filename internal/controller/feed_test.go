package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// follow collects changes until enough says so.
func follow(t *testing.T, c *Controller, after int64, enough func(Change) bool) {
	t.Helper()
	done := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Follow(ctx, after, func(change Change) error {
		if enough(change) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	follow(t, s.Controller, -1, func(c Change) bool { return slices.Contains(c.Groups, "shop") })
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	run, err := s.StartRun(ctx, "test-failover", "shop", "latest", "somebody")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	var kinds []string
	var last int64
	follow(t, s.Controller, 0, func(c Change) bool {
		if c.Event == nil {
			return false
		}
		if c.Event.Sequence <= last {
			t.Errorf("event %d after %d", c.Event.Sequence, last)
		}
		last = c.Event.Sequence
		kinds = append(kinds, c.Event.Kind)
		return c.Event.Run == run.ID && c.Event.Kind != "run.started"
	})
	// After that there is nothing but what happens next.
	begun := make(chan struct{})
	go func() {
		<-begun
		s.event(ctx, "test", "shop", "", "the next")
	}()
	close(begun)
	follow(t, s.Controller, last, func(c Change) bool {
		if c.Event != nil && c.Event.Sequence <= last {
			t.Errorf("event %d again", c.Event.Sequence)
		}
		return c.Event != nil && c.Event.Kind == "test"
	})
}

func TestOverviewAndHistory(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	all := func(string, string) bool { return true }
	addMachine(t, s.east, "db")
	addMachine(t, s.east, "web")
	mail := shop
	mail.Name, mail.Machines = "mail", []dr.MachinePolicy{{Name: "web"}}
	for _, g := range []dr.Group{shop, mail} {
		if _, err := s.Protect(ctx, g); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sync(ctx, g.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Pause(ctx, "mail"); err != nil {
		t.Fatal(err)
	}
	o, err := s.Overview(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	if o.Groups != 2 || o.Replication[dr.ReplicationPaused] != 1 || o.Recoverability[dr.NeverProven] != 2 || o.Health[dr.HealthWarning] == 0 || len(o.Worst) != 2 {
		t.Errorf("%+v", o)
	}
	if len(o.Vaults) != 1 || o.Vaults[0].Groups != 2 {
		t.Errorf("vaults: %+v", o.Vaults)
	}
	o, err = s.Overview(ctx, func(group, _ string) bool { return group == "shop" })
	if err != nil || o.Groups != 1 || o.Recoverability[dr.NeverProven] != 1 {
		t.Errorf("of one group: %+v, %v", o, err)
	}
	if _, err := s.store.ChangeProtection(ctx, "mail", func(p *store.Protection) error { p.Test = dr.TestRunning; return nil }); err != nil {
		t.Fatal(err)
	}
	if o, err = s.Overview(ctx, all); err != nil || len(o.Undecided) != 1 || o.Undecided[0].Group.Name != "mail" {
		t.Errorf("with a test that runs: %+v, %v", o.Undecided, err)
	}
	list, err := s.History(ctx, "shop", time.Now().Add(-time.Hour), time.Now().Add(time.Hour), 10)
	if err != nil || len(list) == 0 || list[0].Changed == 0 {
		t.Errorf("history: %+v, %v", list, err)
	}
	if _, err := s.History(ctx, "none", time.Now().Add(-time.Hour), time.Now(), 10); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("history of nothing: %v", err)
	}
}

func TestDecision(t *testing.T) {
	for want, list := range map[string][]Status{
		"failed-over":  {{Protection: protection(dr.StateFailedOver, dr.TestNone)}},
		"committed":    {{Protection: protection(dr.StateCommitted, "")}},
		"test-running": {{Protection: protection(dr.StatePaused, dr.TestRunning)}},
		"test-failed":  {{Protection: protection(dr.StateProtected, dr.TestFailed)}},
		"": {
			{Protection: protection(dr.StateProtected, dr.TestNone)},
			{Protection: protection(dr.StateProtected, dr.TestStarting)},
			{Protection: protection(dr.StateReprotectFailed, dr.TestNone)},
			{Protection: protection(dr.StateFailedOver, dr.TestNone), Active: "r-1"},
			{Protection: protection(dr.StateProtected, dr.TestRunning), Active: "r-1"},
		},
	} {
		for _, s := range list {
			if got := s.Decision(); got != want {
				t.Errorf("%+v: %q, want %q", s.Protection.Protection, got, want)
			}
		}
	}
}

func protection(state dr.State, test dr.TestState) store.Protection {
	return store.Protection{Protection: dr.Protection{State: state, Test: test}}
}

func TestUsageAndForesight(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	u, err := s.VaultUsage(ctx, "main")
	if err != nil || u.Problem != "" || u.At.IsZero() || u.Bytes == 0 || u.Groups["shop"].Objects == 0 || u.Groups["shop"].Bytes > u.Bytes || u.Free <= 0 {
		t.Errorf("%+v %v", u, err)
	}
	if again, err := s.VaultUsage(ctx, "main"); err != nil || !again.At.Equal(u.At) {
		t.Errorf("added up again at once: %+v %v", again, err)
	}
	if _, err := s.VaultUsage(ctx, "none"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("of nothing: %v", err)
	}
	list, tiers, err := s.Foresee(ctx, "shop", nil, time.Now())
	if err != nil || len(list) == 0 || !list[0].Kept || dr.FormatTiers(tiers) != "all for 1h" {
		t.Errorf("%+v %v %v", list, tiers, err)
	}
	list, _, err = s.Foresee(ctx, "shop", nil, time.Now().Add(2*time.Hour))
	if err != nil || len(list) == 0 || list[0].Kept {
		t.Errorf("in two hours: %+v %v", list, err)
	}
	p, groups, err := s.EffectivePolicy(ctx, "fast")
	if err != nil || p.Name != "fast" || !slices.Equal(groups, []string{"shop"}) {
		t.Errorf("%+v %v %v", p, groups, err)
	}
}

func TestAllMachines(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	addMachine(t, s.west, "other")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	list, err := s.AllMachines(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]MachineRow{}
	for _, m := range list {
		found[m.Site+"/"+m.Machine.Name] = m
	}
	db, other := found["east/db"], found["west/other"]
	if len(list) != 2 || db.Status == nil || db.Status.Group.Name != "shop" || db.Machine.Power != dr.PowerOn || db.Observed.IsZero() || other.Status != nil {
		t.Errorf("%+v", list)
	}
	// What a failover left behind is its group's: nobody has to protect it.
	if _, err := s.store.ChangeFence(ctx, "west", "other", func(f *store.Fence) error { f.Group = "shop"; return nil }); err != nil {
		t.Fatal(err)
	}
	if list, err = s.AllMachines(ctx); err != nil || len(list) != 2 || list[0].Status == nil || list[1].Status == nil {
		t.Errorf("%+v %v", list, err)
	}
}

// A group whose target does not answer is not healthy, however well it is replicated.
func TestTargetDoesNotAnswer(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	s.west.FailNext(fake.OpMachines, errors.New("no route to host"))
	if _, err := s.AllMachines(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := s.Status(ctx, "shop")
	if err != nil || list[0].Health != dr.HealthWarning || !strings.Contains(list[0].HealthReason, "its target west does not answer: ") || !strings.Contains(list[0].Warning, "no route to host") {
		t.Errorf("%+v %v", list, err)
	}
}
