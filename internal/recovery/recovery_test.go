package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

func result(t testing.TB, r store.Run) recovery.Result {
	t.Helper()
	var res recovery.Result
	must(t, json.Unmarshal(r.Result, &res))
	return res
}

func TestTestFailoverAndCleanup(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	start := time.Now()
	run := w.run(recovery.KindTest, store.RunSucceeded)
	t.Logf("test failover of 3 machines: %s", time.Since(start))
	res := result(t, run)
	if res.Point != "1-1" || len(res.Machines) != 3 || res.RTO <= 0 || res.RPO <= 0 {
		t.Fatalf("result %+v", res)
	}
	as := func(m string) string { return m + "-test-" + run.ID }
	if len(w.started) != 3 || w.started[2] != as("web") {
		t.Fatalf("started %v", w.started)
	}
	req, _ := w.west.Provisioned(as("db"))
	if req.Isolation != run.ID || req.Machine.NICs[0].Forwards[0].HostPort != 0 {
		t.Fatalf("provisioned %+v", req)
	}
	if got := w.read(w.west, as("db")); got != "db first" {
		t.Fatalf("db holds %q", got)
	}
	if p := power(t, w.east); p["db"] != dr.PowerOn || w.isPaused() {
		t.Fatal("production was disturbed")
	}
	p := w.protection()
	if p.Test != dr.TestRunning || !p.ProvenAt.IsZero() {
		t.Fatalf("protection %+v", p)
	}
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindPlanned, Group: "shop"}); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
		t.Fatalf("planned failover beside a test: %v", err)
	}
	w.run(recovery.KindCleanup, store.RunSucceeded)
	p = w.protection()
	if p.Test != dr.TestNone || p.ProvenRun != run.ID || p.ProvenRTO <= 0 || p.State != dr.StateProtected {
		t.Fatalf("protection %+v", p)
	}
	if m := power(t, w.west); len(m) != 0 {
		t.Fatalf("left at west: %v", m)
	}
	exports, err := w.store.Exports(t.Context(), "")
	must(t, err)
	files, err := os.ReadDir(w.dir + "/run")
	must(t, err)
	if len(exports) != 0 || len(files) != 0 {
		t.Fatalf("left: %v %v", exports, files)
	}
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindCleanup, Group: "shop"}); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("second clean-up: %v", err)
	}
}

func TestFailoverSourceReachableOrNot(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprint("down=", down), func(t *testing.T) {
			w := newWorld(t)
			w.open()
			defer func() { w.close() }()
			w.write("db", "second")
			must(t, w.sync())
			w.write("db", "lost")
			w.eastDown.Store(down)
			start := time.Now()
			run := w.run(recovery.KindFailover, store.RunSucceeded)
			t.Logf("failover of 3 machines, hydrated: %s", time.Since(start))
			res := result(t, run)
			if res.Point != "1-2" || res.Epoch != 2 || res.Independent.IsZero() || res.Healthy.IsZero() || res.Source[0].Held == down {
				t.Fatalf("result %+v", res)
			}
			if got := w.read(w.west, "db"); got != "db second" {
				t.Fatalf("db holds %q", got)
			}
			if p := power(t, w.west); p["db"] != dr.PowerOn || p["web"] != dr.PowerOn {
				t.Fatalf("west %v", p)
			}
			g, err := w.store.Group(t.Context(), "shop")
			must(t, err)
			if g.Site != "west" || g.Target != "east" || w.protection().State != dr.StateFailedOver || !w.isPaused() {
				t.Fatalf("group %+v %+v", g, w.protection())
			}
			if err := w.sync(); dr.KindOf(err) != dr.KindFenced {
				t.Fatalf("the source can still write: %v", err)
			}
			_, held := w.east.Held("db")
			if held == down {
				t.Fatalf("held %v", held)
			}
			w.splitBrain(down)
			w.run(recovery.KindCommit, store.RunSucceeded)
			if s := w.protection().State; s != dr.StateCommitted {
				t.Fatalf("state %s", s)
			}
			_, err = w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindPlanned, Group: "shop"})
			if dr.KindOf(err) != dr.KindConflict || !strings.HasPrefix(dr.Hint(err), "understudy reprotect shop") {
				t.Fatalf("planned failover after commit: %v, %s", err, dr.Hint(err))
			}
		})
	}
}

// splitBrain lets the source come back.
func (w *world) splitBrain(wasDown bool) {
	t := w.t
	t.Helper()
	must(t, w.rec.Reconcile(t.Context())) // a site that is down is no error
	if w.protection().SplitBrain {
		t.Fatal("split brain without a source")
	}
	w.eastDown.Store(false)
	if !wasDown { // somebody releases and starts it by hand
		must(t, w.east.Fence(t.Context(), "db", false, ""))
		must(t, w.east.Power(t.Context(), "db", site.PowerStart))
	}
	must(t, w.rec.Reconcile(t.Context()))
	must(t, w.rec.Reconcile(t.Context()))
	if p := power(t, w.east); p["db"] != dr.PowerOff || !w.protection().SplitBrain {
		t.Fatalf("east %v, %+v", p, w.protection())
	}
	if _, held := w.east.Held("db"); !held {
		t.Fatal("db is not held")
	}
	fences, err := w.store.Fences(t.Context(), "shop")
	must(t, err)
	i := slices.IndexFunc(fences, func(f store.Fence) bool { return f.Machine == "db" })
	if fences[i].SplitBrain.IsZero() || fences[i].HeldAt.IsZero() {
		t.Fatalf("fence %+v", fences[i])
	}
	events, err := w.store.Events(t.Context(), store.EventFilter{Group: "shop"})
	must(t, err)
	n := 0
	for _, e := range events {
		if e.Kind == "split-brain" && strings.Contains(e.Message, "db was found on at former site east") {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d reports of the split brain: %+v", n, events)
	}
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindReprotect, Group: "shop"}); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
		t.Fatalf("reprotect in split brain: %v", err)
	}
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindResolve, Group: "shop", Keep: "north"}); dr.KindOf(err) != dr.KindInvalid {
		t.Fatalf("keep a site that is not: %v", err)
	}
	resolve, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindResolve, Group: "shop", Keep: "west"})
	must(t, err)
	w.wait(resolve.ID, store.RunSucceeded)
	if w.protection().SplitBrain {
		t.Fatal("not resolved")
	}
	must(t, w.rec.Reconcile(t.Context()))
	if w.protection().SplitBrain {
		t.Fatal("split brain again without cause")
	}
}

func TestPlannedFailoverLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	w.write("db", "newest")
	res := result(t, w.run(recovery.KindPlanned, store.RunSucceeded))
	if res.RPO != 0 || res.Point != "1-2" {
		t.Fatalf("result %+v", res)
	}
	if got := w.read(w.west, "db"); got != "db newest" {
		t.Fatalf("db holds %q", got)
	}
	if p := power(t, w.east); p["db"] != dr.PowerOff || w.protection().State != dr.StateFailedOver {
		t.Fatalf("east %v", p)
	}
	must(t, w.rec.Reconcile(t.Context()))
	if w.protection().SplitBrain {
		t.Fatal("split brain without cause")
	}
}

func TestPlannedFailoverThatFailsGivesProductionBack(t *testing.T) {
	for name, arrange := range map[string]func(*world){
		"final sync": func(w *world) {
			w.finalErr = dr.WithHint(errors.New("vault is full"), dr.KindInvalid, "make room")
		},
		"shutdown": func(w *world) {
			broken := dr.WithHint(errors.New("guest is stuck"), dr.KindInvalid, "")
			w.east.FailNext(fake.OpStop, broken)
		},
		"check": func(w *world) { w.west.AddMachine(dr.Machine{Name: "db"}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.open()
			defer w.close()
			arrange(w)
			run := w.run(recovery.KindPlanned, store.RunFailed)
			if !result(t, run).Restored || w.protection().State != dr.StateProtected || w.isPaused() {
				t.Fatalf("%+v %+v", run, w.protection())
			}
			for m, p := range power(t, w.east) {
				if p != dr.PowerOn {
					t.Errorf("%s is %s", m, p)
				}
			}
			fences, err := w.store.Fences(t.Context(), "")
			must(t, err)
			if len(fences) != 0 {
				t.Errorf("fences %+v", fences)
			}
			must(t, w.sync()) // replication goes on
		})
	}
}

func TestProbeFailure(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	w.west.FailNext(fake.OpProbe, dr.WithHint(errors.New("connection refused"), dr.KindUnavailable, ""))
	w.west.FailNext(fake.OpProbe, dr.WithHint(errors.New("connection refused"), dr.KindUnavailable, ""))
	run := w.run(recovery.KindTest, store.RunFailed)
	if !strings.Contains(run.Error, "is not healthy: it does not accept connections on port 7000: connection refused") || !strings.Contains(run.Hint, "understudy cleanup shop") {
		t.Fatalf("error %q, hint %q", run.Error, run.Hint)
	}
	if len(w.started) != 2 {
		t.Fatalf("started %v although the database is not healthy", w.started)
	}
	if p := w.protection(); p.Test != dr.TestFailed {
		t.Fatalf("%+v", p)
	}
	w.run(recovery.KindCleanup, store.RunSucceeded)
	p := w.protection()
	if p.Test != dr.TestNone || !p.ProvenAt.IsZero() || len(power(t, w.west)) != 0 {
		t.Fatalf("%+v %v", p, power(t, w.west))
	}
}

// TestRehearsalThatMadeNothing: there is nothing to clean up after a test failover that failed before it made anything.
func TestRehearsalThatMadeNothing(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	w.west.FailNext(fake.OpMachines, dr.WithHint(errors.New("wrong password"), dr.KindInvalid, ""))
	w.run(recovery.KindTest, store.RunFailed)
	if p := w.protection(); p.Test != dr.TestNone {
		t.Fatalf("%+v", p)
	}
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindCleanup, Group: "shop"}); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("clean-up: %v", err)
	}
	w.run(recovery.KindTest, store.RunSucceeded)
}

// TestBackFromAFailedFailover: a failover that failed can be given up for the former site.
func TestBackFromAFailedFailover(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	for range 2 {
		w.west.FailNext(fake.OpProbe, errors.New("no answer"))
	}
	w.run(recovery.KindFailover, store.RunFailed)
	must(t, w.east.Fence(t.Context(), "db", false, ""))
	must(t, w.east.Power(t.Context(), "db", site.PowerStart)) // somebody does not wait
	must(t, w.rec.Reconcile(t.Context()))
	run, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindResolve, Group: "shop", Keep: "east"})
	must(t, err)
	res := result(t, w.wait(run.ID, store.RunSucceeded))
	g, err := w.store.Group(t.Context(), "shop")
	must(t, err)
	if p := w.protection(); p.State != dr.StateProtected || p.SplitBrain || g.Site != "east" || g.Target != "west" || res.Epoch != 3 {
		t.Fatalf("%+v %+v %+v", p, g, res)
	}
	if m := power(t, w.west); len(m) != 0 {
		t.Errorf("left at west: %v", m)
	}
	for m, p := range power(t, w.east) {
		if p != dr.PowerOn {
			t.Errorf("%s is %s", m, p)
		}
	}
	must(t, w.sync())
}

func TestFailoverThatFailsIsStartedOver(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	for range 2 {
		w.west.FailNext(fake.OpProbe, errors.New("no answer"))
	}
	w.run(recovery.KindFailover, store.RunFailed)
	if s := w.protection().State; s != dr.StateFailoverFailed {
		t.Fatal(s)
	}
	w.run(recovery.KindCleanup, store.RunSucceeded)
	if len(power(t, w.west)) != 0 {
		t.Fatal("not cleaned up")
	}
	for range 2 {
		w.west.FailNext(fake.OpProbe, errors.New("no answer"))
	}
	w.run(recovery.KindFailover, store.RunFailed)
	run := w.run(recovery.KindFailover, store.RunSucceeded) // over what the failed one left
	if res := result(t, run); res.Epoch != 2 {
		t.Fatalf("%+v", res)
	}
	// And another recovery point is chosen.
	again, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindFailover, Group: "shop", Point: "1-1"})
	must(t, err)
	w.wait(again.ID, store.RunSucceeded)
	if p := w.protection(); p.State != dr.StateFailedOver || p.Run != again.ID || p.Epoch != 2 {
		t.Fatalf("%+v", p)
	}
}

func TestFailoverLeavesStrangersAlone(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	w.west.AddMachine(dr.Machine{Name: "web", Power: dr.PowerOn})
	run := w.run(recovery.KindFailover, store.RunFailed)
	if run.ErrorKind != dr.KindConflict || w.protection().State == dr.StateFailover || power(t, w.east)["db"] != dr.PowerOn {
		t.Fatalf("%+v %+v", run, w.protection())
	}
	must(t, w.sync()) // the source still owns the group
}

// gate blocks the n-th call of a site until its context ends.
type gate struct {
	site.Driver
	at      *atomic.Int32
	arrived chan string
}

func (g *gate) pass(ctx context.Context, what string) error {
	if g.at.Add(-1) != 0 {
		return nil
	}
	g.arrived <- what
	<-ctx.Done()
	return ctx.Err()
}

func (g *gate) Machines(ctx context.Context) ([]dr.Machine, error) {
	if err := g.pass(ctx, "machines"); err != nil {
		return nil, err
	}
	return g.Driver.Machines(ctx)
}

func (g *gate) Provision(ctx context.Context, r site.ProvisionRequest) error {
	return errors.Join(g.pass(ctx, "provision "+r.Machine.Name), g.Driver.Provision(ctx, r))
}

func (g *gate) Power(ctx context.Context, m string, a site.PowerAction) error {
	if err := g.pass(ctx, string(a)+" "+m); err != nil {
		return err
	}
	return g.Driver.Power(ctx, m, a)
}

func (g *gate) Probe(ctx context.Context, m string, p dr.Probe) error {
	if err := g.pass(ctx, "probe "+m); err != nil {
		return err
	}
	return g.Driver.Probe(ctx, m, p)
}

func (g *gate) Hydrate(ctx context.Context, m string, f func(int64, int64)) error {
	if err := g.pass(ctx, "hydrate "+m); err != nil {
		return err
	}
	return g.Driver.Hydrate(ctx, m, f)
}

func (g *gate) Fence(ctx context.Context, m string, hold bool, reason string) error {
	if err := g.pass(ctx, "fence "+m); err != nil {
		return err
	}
	return g.Driver.Fence(ctx, m, hold, reason)
}

func (w *world) gate() *gate {
	g := &gate{at: new(atomic.Int32), arrived: make(chan string, 1)}
	w.wrap = func(_ string, d site.Driver) site.Driver { return &gate{d, g.at, g.arrived} }
	return g
}

// TestControllerDiesAtEveryCall stops the controller inside of every call of a driver, one after the other, in one run.
func TestControllerDiesAtEveryCall(t *testing.T) {
	for _, kind := range []string{recovery.KindTest, recovery.KindFailover, recovery.KindPlanned} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			g := w.gate()
			g.at.Store(1)
			w.open()
			run, err := w.rec.Start(t.Context(), recovery.Request{Kind: kind, Group: "shop"})
			must(t, err)
			deaths := 0
			ended := make(chan error, 1)
			for {
				watch, stop := context.WithCancel(t.Context())
				go func() {
					ended <- w.rec.Watch(watch, run.ID, func(store.Run, []store.Step) error { return nil })
				}()
				var over bool
				select {
				case <-g.arrived:
				case err := <-ended:
					must(t, err)
					over = true
				case <-time.After(20 * time.Second):
					t.Fatal("nothing happens")
				}
				stop()
				if over {
					break
				}
				<-ended
				deaths++
				w.close()
				// A call that ended just as the controller stopped is made again, so sometimes let some more pass.
				g.at.Store(int32(1 + deaths%5))
				w.open()
			}
			w.wait(run.ID, store.RunSucceeded)
			w.close()
			t.Logf("%d deaths", deaths)
			if deaths < 4 {
				t.Errorf("died only %d times", deaths)
			}
			for m, p := range power(t, w.west) {
				if p != dr.PowerOn {
					t.Errorf("%s is %s", m, p)
				}
			}
			if n := len(power(t, w.west)); n != 3 {
				t.Errorf("%d machines at west", n)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	for _, c := range []struct {
		kind  string
		at    int32
		state dr.State
		east  dr.Power
	}{
		{recovery.KindTest, 5, dr.StateProtected, dr.PowerOn},           // at a start
		{recovery.KindFailover, 1, "", dr.PowerOn},                      // before the epoch is raised
		{recovery.KindFailover, 6, dr.StateFailoverFailed, dr.PowerOff}, // after it
		{recovery.KindPlanned, 2, dr.StateProtected, dr.PowerOn},        // in the shutdown
	} {
		t.Run(fmt.Sprint(c.kind, " ", c.at), func(t *testing.T) {
			w := newWorld(t)
			g := w.gate()
			g.at.Store(c.at)
			w.open()
			defer w.close()
			run, err := w.rec.Start(t.Context(), recovery.Request{Kind: c.kind, Group: "shop"})
			must(t, err)
			what := <-g.arrived
			must(t, w.rec.Cancel(t.Context(), run.ID, "changed my mind"))
			run = w.wait(run.ID, store.RunCancelled)
			p := w.protection()
			if p.State != c.state || p.Test != dr.TestNone && p.Test != "" {
				t.Errorf("cancelled at %q: %+v", what, p)
			}
			if !strings.Contains(run.Error, "changed my mind") {
				t.Errorf("error %q", run.Error)
			}
			if m := power(t, w.west); len(m) != 0 {
				t.Errorf("left at west: %v", m)
			}
			if got := power(t, w.east)["db"]; got != c.east {
				t.Errorf("source is %s", got)
			}
			if err := w.rec.Cancel(t.Context(), run.ID, ""); dr.KindOf(err) != dr.KindConflict {
				t.Errorf("second cancel: %v", err)
			}
		})
	}
}

func TestOneRunPerGroup(t *testing.T) {
	w := newWorld(t)
	g := w.gate()
	g.at.Store(1)
	w.open()
	defer w.close()
	run, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindFailover, Group: "shop"})
	must(t, err)
	<-g.arrived
	_, err = w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindFailover, Group: "shop"})
	if dr.KindOf(err) != dr.KindConflict || !strings.Contains(dr.Hint(err), run.ID) {
		t.Fatalf("second run: %v", err)
	}
	_, err = w.rec.Start(t.Context(), recovery.Request{Kind: "dance", Group: "shop"})
	if dr.KindOf(err) != dr.KindInvalid {
		t.Fatal(err)
	}
	_, err = w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindTest, Group: "none"})
	if dr.KindOf(err) != dr.KindNotFound {
		t.Fatal(err)
	}
}
