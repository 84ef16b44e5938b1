package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/drill"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// openDrill starts a controller that keeps evidence and measures replication, which makes progress all the time.
func (w *world) openDrill() *recovery.Recovery {
	w.t.Helper()
	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator = w.site, w
	o.EvidenceDir = filepath.Join(w.dir, "evidence")
	o.Replication = func(context.Context, string) (drill.Sample, error) {
		return drill.Sample{KnownGood: time.Now().Add(-time.Second), State: "waiting", Objective: 5 * time.Second}, nil
	}
	w.rec = recovery.New(o)
	must(w.t, w.rec.Open(w.t.Context()))
	return w.rec
}

func (w *world) drill(spec recovery.DrillSpec, want store.RunState) store.Run {
	w.t.Helper()
	run, err := w.rec.Start(w.t.Context(), recovery.Request{Kind: recovery.KindDrill, Group: "shop", Drill: &spec})
	must(w.t, err)
	return w.wait(run.ID, want)
}

// nothingLeft checks that neither machines nor exports of a drill are left.
func (w *world) nothingLeft() {
	w.t.Helper()
	if m := power(w.t, w.west); len(m) != 0 {
		w.t.Errorf("left at west: %v", m)
	}
	exports, err := w.store.Exports(w.t.Context(), "")
	must(w.t, err)
	sockets, err := filepath.Glob(w.dir + "/run/r*.sock")
	must(w.t, err)
	if len(exports) != 0 || len(sockets) != 0 {
		w.t.Errorf("left: %v %v", exports, sockets)
	}
}

func TestDrillPasses(t *testing.T) {
	w := newWorld(t)
	w.openDrill()
	defer w.close()
	w.wrap = func(name string, d site.Driver) site.Driver {
		if name == "west" {
			return w.west // with its screens, which the recorder hides
		}
		return d
	}
	run := w.drill(recovery.DrillSpec{}, store.RunSucceeded)
	res := result(t, run)
	if res.Point != "1-1" || len(res.Machines) != 3 || res.RTO <= 0 || res.Drill == nil {
		t.Fatalf("result %+v", res)
	}
	d := *res.Drill
	if len(d.Checks) != 3 || !d.Checks[0].Passed || d.Checks[0].Probe != "TCP port 7000" || d.Cleaned.IsZero() || d.Kept {
		t.Errorf("drill %+v", d)
	}
	if d.Lag.Samples == 0 || d.Lag.Objective != 5 || d.Lag.Largest < 1 {
		t.Errorf("lag %+v", d.Lag)
	}
	w.nothingLeft()
	if p := power(t, w.east); p["db"] != dr.PowerOn || w.isPaused() {
		t.Error("production was disturbed")
	}
	p := w.protection()
	if p.Test != dr.TestNone || p.State != dr.StateProtected || p.ProvenRun != run.ID || p.ProvenPoint != "1-1" || p.ProvenRTO <= 0 {
		t.Errorf("protection %+v", p)
	}
	proof, ok, err := w.rec.Proven(t.Context(), "shop")
	if err != nil || !ok || proof.Run != run.ID || len(proof.Machines) != 3 || proof.RTO != p.ProvenRTO {
		t.Errorf("proof %+v %v %v", proof, ok, err)
	}
	screens := 0
	for _, it := range (drill.Archive{Dir: w.dir + "/evidence"}).Load(run.ID, d.Evidence) {
		if it.Kind == drill.Screen && it.Missing == "" && strings.HasPrefix(string(it.Data), "\x89PNG") {
			screens++
		}
	}
	if screens != 3 {
		t.Errorf("%d screens: %+v", screens, d.Evidence)
	}

	// What is no longer known loses its evidence.
	stray := filepath.Join(w.dir, "evidence", "rgone")
	must(t, os.MkdirAll(stray, 0o700))
	must(t, w.rec.Tidy(t.Context()))
	if _, err := os.Stat(stray); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stray evidence is kept: %v", err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "evidence", run.ID)); err != nil {
		t.Error(err)
	}
}

// A drill that fails takes evidence of what it was like and cleans up; it proves nothing.
func TestDrillFails(t *testing.T) {
	for name, tt := range map[string]struct {
		arrange func(*world)
		keep    bool
		made    bool // there were machines
		want    string
	}{
		"machine is not healthy": {func(w *world) {
			w.west.FailNext(fake.OpProbe, errors.New("connection refused"))
		}, false, true, "connection refused"},
		"not created": {func(w *world) {
			for range 3 {
				w.west.FailNext(fake.OpProvision, dr.WithHint(errors.New("no space"), dr.KindConflict, ""))
			}
		}, false, true, "no space"},
		"ill when all should be well": {func(w *world) {
			var n atomic.Int32
			w.wrap = func(name string, d site.Driver) site.Driver {
				return probed{d, func() error {
					if n.Add(1) > 3 {
						return errors.New("it ended")
					}
					return nil
				}}
			}
		}, false, true, "not all machines are healthy together: db, cache, web"},
		"target is away": {func(w *world) {
			w.wrap = func(name string, d site.Driver) site.Driver {
				if name == "west" {
					return absent{d}
				}
				return d
			}
		}, false, false, "west is away"},
		"kept": {func(w *world) {
			w.west.FailNext(fake.OpProbe, errors.New("connection refused"))
		}, true, true, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.openDrill()
			defer w.close()
			tt.arrange(w)
			run := w.drill(recovery.DrillSpec{Keep: tt.keep}, store.RunFailed)
			if !strings.Contains(run.Error, tt.want) || run.Hint == "" {
				t.Errorf("error %q, hint %q", run.Error, run.Hint)
			}
			res := result(t, run)
			if tt.made != (len(res.Drill.Checks) == 3) {
				t.Errorf("checks %+v", res.Drill.Checks)
			}
			p := w.protection()
			if !p.ProvenAt.IsZero() || p.State != dr.StateProtected {
				t.Errorf("protection %+v", p)
			}
			if !tt.keep {
				w.nothingLeft()
				if p.Test != dr.TestNone || res.Drill.Cleaned.IsZero() {
					t.Errorf("test is %s, %+v", p.Test, res.Drill)
				}
				return
			}
			if p.Test != dr.TestFailed || !res.Drill.Kept || !res.Drill.Cleaned.IsZero() || len(power(t, w.west)) != 3 {
				t.Errorf("test is %s, %+v, %v", p.Test, res.Drill, power(t, w.west))
			}
			if !strings.Contains(run.Hint, "understudy cleanup shop") {
				t.Errorf("hint %q", run.Hint)
			}
			w.run(recovery.KindCleanup, store.RunSucceeded)
			w.nothingLeft()
			if p := w.protection(); p.Test != dr.TestNone || !p.ProvenAt.IsZero() {
				t.Errorf("protection %+v", p)
			}
		})
	}
}

// probed has its own opinion of machines.
type probed struct {
	site.Driver
	probe func() error
}

func (p probed) Probe(context.Context, string, dr.Probe) error { return p.probe() }

// absent is a site that does not answer.
type absent struct{ site.Driver }

func (absent) Machines(context.Context) ([]dr.Machine, error) {
	return nil, dr.WithHint(errors.New("west is away"), dr.KindConflict, "")
}

func (absent) Delete(context.Context, string) error { return errors.New("west is away") }

// A drill whose clean-up fails counts for nothing, and says what removes the rest.
func TestDrillCleanUpFails(t *testing.T) {
	w := newWorld(t)
	w.openDrill()
	defer w.close()
	for range 12 {
		w.west.FailNext(fake.OpDelete, dr.WithHint(errors.New("busy"), dr.KindConflict, ""))
	}
	run := w.drill(recovery.DrillSpec{}, store.RunFailed)
	if !strings.Contains(run.Error, "clean up") || run.Hint != "understudy cleanup shop" {
		t.Errorf("error %q, hint %q", run.Error, run.Hint)
	}
	if p := w.protection(); p.Test != dr.TestFailed || !p.ProvenAt.IsZero() {
		t.Errorf("protection %+v", p)
	}
	for n := w.west.Calls(fake.OpDelete); n < 12; n++ { // what the drill did not use up
		_ = w.west.Delete(t.Context(), "none")
	}
	w.run(recovery.KindCleanup, store.RunSucceeded)
	w.nothingLeft()
	if p := w.protection(); p.Test != dr.TestNone || !p.ProvenAt.IsZero() {
		t.Errorf("a drill that failed is a proof: %+v", p)
	}
}

func TestDrillCancelled(t *testing.T) {
	w := newWorld(t)
	w.openDrill()
	defer w.close()
	probing := make(chan struct{}, 10)
	w.wrap = func(_ string, d site.Driver) site.Driver { return waits{d, probing} }
	run, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindDrill, Group: "shop"})
	must(t, err)
	<-probing
	must(t, w.rec.Cancel(t.Context(), run.ID, "enough"))
	w.wait(run.ID, store.RunCancelled)
	w.nothingLeft()
	if p := w.protection(); p.Test != dr.TestNone || !p.ProvenAt.IsZero() {
		t.Errorf("protection %+v", p)
	}
}

// waits is a site whose machines never get healthy.
type waits struct {
	site.Driver
	probing chan<- struct{}
}

func (s waits) Probe(ctx context.Context, _ string, _ dr.Probe) error {
	s.probing <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func TestDrillKeepsEvidenceOfTheNewest(t *testing.T) {
	w := newWorld(t)
	w.openDrill()
	defer w.close()
	a := drill.Archive{Dir: w.dir + "/evidence"}
	begin := time.Now().Add(-1000 * time.Hour).UTC()
	for i := range 110 {
		r := store.Run{ID: fmt.Sprintf("rold%03d", i), Kind: recovery.KindDrill, Group: "shop", State: store.RunSucceeded,
			Requested: begin.Add(time.Duration(i) * time.Hour), Ended: begin.Add(time.Duration(i) * time.Hour)}
		must(t, w.store.CreateRun(t.Context(), r, func(*store.Protection) error { return nil }))
		must(t, a.Note(r.ID, drill.Sample{Time: begin}))
	}
	run := w.drill(recovery.DrillSpec{}, store.RunSucceeded)
	have, err := a.Runs()
	must(t, err)
	if len(have) != 100 || have[0] != run.ID && have[len(have)-1] != "rold109" {
		t.Errorf("%d are kept: %v", len(have), have)
	}
	if _, err := os.Stat(filepath.Join(a.Dir, run.ID)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(a.Dir, "rold010")); !errors.Is(err, os.ErrNotExist) {
		t.Error("old evidence is kept")
	}
}
