package controller

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// stage is a controller with two sites in memory.
type stage struct {
	*Controller
	east, west *fake.Site
	cfg        Config
	end        func()
}

func open(t *testing.T, s *stage) {
	t.Helper()
	c, err := Open(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Controller = c
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx) }()
	ended := false
	s.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(s.end)
}

func setUp(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{east: fake.New("east"), west: fake.New("west")}
	s.cfg = Config{
		Dir: filepath.Join(dir, "data"), Homes: keyring.Homes{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")},
		ReconcileEvery: 50 * time.Millisecond,
		OpenSite: func(v dr.Site) (site.Driver, error) {
			if v.Name == "east" {
				return s.east, nil
			}
			return s.west, nil
		},
	}
	open(t, s)
	ctx := t.Context()
	for _, name := range []string{"east", "west"} {
		if err := s.AddSite(ctx, dr.Site{Name: name, Provider: "fake"}); err != nil {
			t.Fatal(err)
		}
	}
	v, made, newKey, err := s.AddVault(ctx, store.Vault{Name: "main", URL: filepath.Join(dir, "vault")}, nil)
	if err != nil || !made || !newKey || v.ID == "" {
		t.Fatalf("add vault: %+v %v %v %v", v, made, newKey, err)
	}
	if st, err := os.Stat(v.KeyFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v %v", st, err)
	}
	if err := s.PutPolicy(ctx, dr.Policy{Name: "fast", RPO: time.Second, Keep: []dr.Tier{{For: time.Hour}}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// replicated is a stage on which the group shop has its first recovery point.
func replicated(t *testing.T) *stage {
	t.Helper()
	s := setUp(t)
	addMachine(t, s.east, "db")
	if _, err := s.Protect(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	return s
}

func addMachine(t *testing.T, s *fake.Site, name string) {
	t.Helper()
	s.AddMachine(dr.Machine{Name: name, Disks: []dr.Disk{{Name: "data", Size: 1 << 20}}, Power: dr.PowerOn})
	s.WriteDisk(dr.DiskID{Machine: name, Disk: "data"}, 4096, []byte("something"))
}

var shop = dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "fast", Machines: []dr.MachinePolicy{{Name: "db"}}}

// reach waits until a run has ended and returns it.
func (s *stage) reach(t *testing.T, run store.Run, want store.RunState) store.Run {
	t.Helper()
	var last store.Run
	err := s.WatchRun(t.Context(), run.ID, func(r store.Run, _ []store.Step) error { last = r; return nil })
	if err != nil || last.State != want {
		t.Fatalf("%s: %s %s, %v", run.Kind, last.State, last.Error, err)
	}
	return last
}

func status(t *testing.T, s *stage) Status {
	t.Helper()
	list, err := s.Status(t.Context(), "shop")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	return list[0]
}

func TestLifeOfGroup(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if res, err := s.Sync(ctx, "shop"); err != nil || res.Instant.IsZero() {
		t.Fatalf("%+v %v", res, err)
	}
	points, err := s.Points(ctx, "shop")
	if err != nil || len(points) == 0 {
		t.Fatalf("%v %v", points, err)
	}
	if st := status(t, s); st.KnownGood.IsZero() || st.LastPoint == "" || st.RPO != time.Second {
		t.Errorf("%+v", st)
	}

	// A second controller on the folder is refused.
	if _, err := Open(ctx, s.cfg); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
		t.Errorf("second controller: %v", err)
	}

	// What was known is known after a restart, before the first cycle has run.
	before := status(t, s)
	s.end()
	s.east.FailNext(fake.OpCapture, dr.WithHint(os.ErrDeadlineExceeded, dr.KindUnavailable, "look at the site"))
	open(t, s)
	if st := status(t, s); st.KnownGood.Before(before.KnownGood) || st.LastPoint != before.LastPoint {
		t.Errorf("after a restart %+v, before %+v", st, before)
	}

	run, err := s.StartRun(ctx, recovery.KindTest, "shop", "", "tester")
	if err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	if err := s.Unprotect(ctx, "shop"); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("unprotect during a test: %v", err)
	}
	if run, err = s.StartRun(ctx, recovery.KindCleanup, "shop", "", "tester"); err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	if st := status(t, s); st.Protection.ProvenAt.IsZero() {
		t.Error("the drill proved nothing")
	}

	if run, err = s.StartRun(ctx, recovery.KindFailover, "shop", "latest", "tester"); err != nil {
		t.Fatal(err)
	}
	s.reach(t, run, store.RunSucceeded)
	if _, err := s.Sync(ctx, "shop"); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("sync after a failover: %v", err)
	}
	machines, err := s.Machines(ctx, "west")
	if err != nil || len(machines) != 1 || machines[0].Power != dr.PowerOn {
		t.Errorf("at the target: %+v %v", machines, err)
	}
	fences, err := s.Fences(ctx, "shop")
	if err != nil || len(fences) != 1 || fences[0].Machine != "db" {
		t.Errorf("fences: %+v %v", fences, err)
	}
	if err := s.Power(ctx, "east", "db", site.PowerStart); dr.KindOf(err) != dr.KindFenced {
		t.Errorf("start at the former site: %v", err)
	}
}

func TestProtectRefuses(t *testing.T) {
	s := setUp(t)
	addMachine(t, s.east, "db")
	for name, tt := range map[string]struct {
		change func(*dr.Group)
		kind   dr.Kind
	}{
		"no machines":     {func(g *dr.Group) { g.Machines = nil }, dr.KindInvalid},
		"unknown machine": {func(g *dr.Group) { g.Machines = []dr.MachinePolicy{{Name: "x"}} }, dr.KindNotFound},
		"unknown site":    {func(g *dr.Group) { g.Site = "x" }, dr.KindNotFound},
		"unknown target":  {func(g *dr.Group) { g.Target = "x" }, dr.KindNotFound},
		"unknown vault":   {func(g *dr.Group) { g.Vault = "x" }, dr.KindNotFound},
		"unknown policy":  {func(g *dr.Group) { g.Policy = "x" }, dr.KindNotFound},
	} {
		g := shop
		tt.change(&g)
		if _, err := s.Protect(t.Context(), g); dr.KindOf(err) != tt.kind || dr.Hint(err) == "" {
			t.Errorf("%s: %v (%s), hint %q", name, err, dr.KindOf(err), dr.Hint(err))
		}
	}
	if groups, err := s.Groups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("left behind: %v %v", groups, err)
	}
	if _, err := s.Protect(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	moved := shop
	moved.Site, moved.Target = "west", "east"
	if _, err := s.Protect(t.Context(), moved); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("move by protect: %v", err)
	}
}

func TestPause(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	for range 2 { // twice is no error
		if err := s.Pause(ctx, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sync(ctx, "shop"); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("sync while paused: %v", err)
	}
	s.end()
	open(t, s)
	if st := status(t, s); st.Replication != "paused" || !st.Group.Paused {
		t.Errorf("after a restart: %s", st.Replication)
	}
	if err := s.Resume(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Errorf("sync after resume: %v", err)
	}
	if err := s.Unprotect(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Errorf("protect again: %v", err)
	}
}
