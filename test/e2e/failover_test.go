package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest/shop"
)

// planned moves a group of its own under load and expects every acknowledged record at west.
func (r *rig) planned(t *testing.T) {
	const group = "kiosk"
	r.define(t, till)
	east := r.boot(t, till.name)
	r.main.protect(t, group, "east", till)
	r.seeded(t, group)
	east.goesOn(t)
	began := time.Now()
	run, err := r.main.Failover(t.Context(), group, wire.Failover{Kind: "planned"})
	if err != nil {
		t.Fatal(err)
	}
	run = r.follow(t, run.ID, nil)
	last := east.newest()
	report := r.check(t, till.name)
	t.Logf("%.1f s; acknowledged at east %d, found at west %d", time.Since(began).Seconds(), last, report.Opened)
	// A record may be durable an instant before its acknowledgement arrives.
	if n := r.records(t, east, group, till.name, run.Result["point"].(string)); n < last || n != report.Opened {
		t.Errorf("acknowledged %d, in the point %d, recovered %d", last, n, report.Opened)
	}
	if pids := r.qemus(t, "east", till.name); len(pids) != 0 {
		t.Errorf("%s runs at east too: %v", till.name, pids)
	}
	r.main.refused(t, 5, "machine", "start", till.name, "--site", "east")
	if err := r.main.PowerMachine(t.Context(), "west", till.name, wire.Power{Action: "kill"}); err != nil {
		t.Fatal(err)
	}
}

// seeded waits until a group can be failed over.
func (r *rig) seeded(t *testing.T, group string) {
	t.Helper()
	eventually(t, time.Minute, "the first copy of "+group, func() error {
		if st := r.status(t, group); st.State != "protected" {
			return fmt.Errorf("%s, %s %s", st.State, st.Replication, st.Error)
		}
		return nil
	})
}

// follow watches a run, over the death of controllers, until it has succeeded. at, when set, is told each state of it
// and returns true to be called no more.
func (r *rig) follow(t *testing.T, id string, at func(wire.Run) bool) wire.Run {
	t.Helper()
	var run wire.Run
	hit := errors.New("hit")
	deadline := time.Now().Add(3 * time.Minute)
	for !run.Over() {
		err := r.main.Watch(t.Context(), id, func(now wire.Run) error {
			run = now
			if at != nil && at(now) {
				return hit
			}
			return nil
		})
		if errors.Is(err, hit) {
			return run
		}
		if time.Now().After(deadline) {
			t.Fatalf("run %s is %s: %s %v", id, run.State, run.Message, err)
		}
	}
	if run.State != "succeeded" {
		t.Fatalf("%s %s: %s\n%+v", run.Kind, run.State, run.Error, run.Steps)
	}
	return run
}

// check has a db at west verify itself.
func (r *rig) check(t *testing.T, machine string) shop.Report {
	t.Helper()
	addr := r.address(t, "west", machine, shop.Port)
	report, err := shop.Check(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Records == 0 || report.Opened == 0 {
		t.Errorf("%s at west: %+v", machine, report)
	}
	return report
}

// census notes which processes machines have at west while it counts.
type census struct {
	mu   sync.Mutex
	seen map[string][]string // machine to processes
	most map[string]int      // at once
	stop func()
}

func (r *rig) census(t *testing.T, machines ...string) *census {
	c := &census{seen: map[string][]string{}, most: map[string]int{}}
	quit, done := make(chan struct{}), make(chan struct{})
	c.stop = sync.OnceFunc(func() { close(quit); <-done })
	t.Cleanup(c.stop)
	go func() {
		defer close(done)
		for {
			for _, m := range machines {
				pids := r.qemus(t, "west", m)
				c.mu.Lock()
				c.most[m] = max(c.most[m], len(pids))
				for _, pid := range pids {
					if !slices.Contains(c.seen[m], pid) {
						c.seen[m] = append(c.seen[m], pid)
					}
				}
				c.mu.Unlock()
			}
			select {
			case <-quit:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return c
}

// failover loses east, and the controller at every step that follows.
func (s *shopGroup) failover(t *testing.T) {
	s.cycles(t, 1)
	// East is cut off, not dead: its machines go on, as they do behind a broken line.
	if err := os.Rename(filepath.Join(s.dir, "east"), filepath.Join(s.dir, "east.lost")); err != nil {
		t.Fatal(err)
	}
	count := s.census(t, db.name, scribe.name)
	began := time.Now()
	run, err := s.main.Failover(t.Context(), group, wire.Failover{Kind: "unplanned"})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	steps := []string{"choose point", "take over", "fence " + db.name, "choose last point", "serve", "create " + db.name, "start " + db.name,
		"probe " + db.name, "start " + scribe.name, "finish", "hydrate " + db.name}
	for _, step := range steps {
		now := s.follow(t, run.ID, func(now wire.Run) bool {
			return slices.ContainsFunc(now.Steps, func(st wire.Step) bool { return st.Name == step && st.State != "pending" })
		})
		if verb, _, _ := strings.Cut(step, " "); slices.Contains([]string{"create", "start", "hydrate"}, verb) {
			time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // not always at its beginning
		}
		s.main.kill(t)
		i := slices.IndexFunc(now.Steps, func(st wire.Step) bool { return st.Name == step })
		if i < 0 {
			t.Fatalf("the run ended without step %q: %+v", step, now.Steps)
		}
		t.Logf("%5.1f s: killed the controller with %q %s, after %d steps", time.Since(began).Seconds(), step, now.Steps[i].State, len(now.Steps))
		s.main.start(t)
	}
	run = s.follow(t, run.ID, nil)
	count.stop()
	for _, st := range run.Steps {
		if st.Attempts > 1 {
			t.Logf("%q took %d attempts", st.Name, st.Attempts)
		}
	}
	t.Logf("%.1f s in all, %d kills; processes at west: %v", time.Since(began).Seconds(), len(steps), count.seen)
	for m, pids := range count.seen {
		if len(pids) != 1 || count.most[m] != 1 || s.starts(t, "west", m) != 1 {
			t.Errorf("%s was started more than once: %v, %d at once, %d starts", m, pids, count.most[m], s.starts(t, "west", m))
		}
	}
	if len(count.seen) != 2 {
		t.Errorf("machines at west: %v", count.seen)
	}
	if run.Result["independent"] == nil {
		t.Errorf("the machines still need the vault: %v", run.Result)
	}

	report := s.check(t, db.name)
	points, err := s.main.AllPoints(t.Context(), group, client.ListPointsQuery{})
	if err != nil {
		t.Fatal(err)
	}
	point := points[len(points)-1]
	if run.Result["point"] != point.ID {
		t.Errorf("the newest point is %s, the run took %v", point.ID, run.Result["point"])
	}
	kept := s.east.before(point.Time)
	t.Logf("acknowledged before point %s: %d; recovered: %d", point.ID, kept, report.Opened)
	if report.Opened < kept || s.east.sum(report.Opened) != report.OpenedSum {
		t.Errorf("acknowledged %d, recovered %d %s, which east has as %s", kept, report.Opened, report.OpenedSum, s.east.sum(report.Opened))
	}
	s.records(t, s.east, group, db.name, point.ID)
	s.listen(t, "west", db.name).goesOn(t)
	if st := s.status(t, group); st.Site != "west" || st.State != "failed-over" {
		t.Errorf("the group is %s at %s", st.State, st.Site)
	}
}

// splitBrain has the stale east replicate and then come back.
func (s *shopGroup) splitBrain(t *testing.T) {
	lost, east := filepath.Join(s.dir, "east.lost"), filepath.Join(s.dir, "east")
	s.east.goesOn(t) // it still sells

	// A controller that only knows east believes that east owns the group.
	stale := s.controller("stale")
	stale.start(t)
	stale.configure(t, s.vault, map[string]string{"east": lost, "west": filepath.Join(s.dir, "none")})
	before := s.points(t)
	stale.protect(t, group, "east", db, scribe)
	eventually(t, 20*time.Second, "the refusal of the stale site", func() error {
		st, err := stale.GroupStatus(t.Context(), group)
		if err == nil && st.Replication != "fenced" {
			err = errors.New(st.Replication + " " + st.Error)
		}
		return err
	})
	t.Log(stale.refused(t, 5, "sync", group))
	if now := s.points(t); !slices.Equal(now, before) {
		t.Errorf("points were %v, are %v", before, now)
	}
	if err := stale.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-stale.ended; err != nil {
		t.Errorf("the stale controller ended with %v", err)
	}
	s.east.goesOn(t)

	// The line is repaired.
	west := s.listen(t, "west", db.name)
	if err := os.RemoveAll(east); err != nil { // what the controller made of it meanwhile
		t.Fatal(err)
	}
	if err := os.Rename(lost, east); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	eventually(t, 30*time.Second, "the end of the machines that came back", func() error {
		if pids := append(s.qemus(t, "east", db.name), s.qemus(t, "east", scribe.name)...); len(pids) > 0 {
			return fmt.Errorf("%v run", pids)
		}
		return nil
	})
	held := time.Since(back)
	eventually(t, 20*time.Second, "the report of the split brain", func() error {
		if st := s.status(t, group); len(st.SplitBrain) != 2 {
			return errors.New(strings.Join(st.SplitBrain, " "))
		}
		return nil
	})
	t.Logf("held after %.1f s; east acknowledged %d, west %d", held.Seconds(), s.east.newest(), west.newest())
	out := s.main.must(t, "status")
	t.Log("\n" + out)
	if !strings.Contains(out, "SPLIT BRAIN") {
		t.Errorf("status does not show it:\n%s", out)
	}
	t.Log(s.main.refused(t, 5, "machine", "start", db.name, "--site", "east"))
	t.Log(s.main.refused(t, 5, "split-brain"))
	west.goesOn(t)
	// What east alone has is left alone.
	for _, m := range []vm{db, scribe} {
		for _, d := range m.disks {
			if _, err := os.Stat(s.image(m.name, d)); err != nil {
				t.Error(err)
			}
		}
	}
}
