package recovery_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/recovery"
	"understudy/internal/recovery/engine"
	"understudy/internal/store"

	"understudy/internal/dr"
)

// TestOpenThatFailsServesNothing lets the engine fail to open after recovery points are served again.
func TestOpenThatFailsServesNothing(t *testing.T) {
	w := newWorld(t)
	w.open()
	run := w.run(recovery.KindTest, store.RunSucceeded)
	w.close()
	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator = w.site, w
	o.EnginePath = filepath.Join(w.dir, "missing", "engine.db")
	r := recovery.New(o)
	if err := r.Open(t.Context()); err == nil {
		t.Fatal("opened without a folder")
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, "run")); err != nil || len(left) != 0 {
		t.Errorf("still served: %v %v", left, err)
	}
	must(t, r.Close()) // no panic
	w.open()
	defer w.close()
	if got := w.read(w.west, "db-test-"+run.ID); got != "db first" {
		t.Errorf("served again: %q", got)
	}
}

// TestTidy forgets what the engine keeps of a run that ended long ago; people still see the run.
func TestTidy(t *testing.T) {
	w := newWorld(t)
	w.open()
	run := w.run(recovery.KindFailover, store.RunSucceeded)
	must(t, w.rec.Tidy(t.Context()))
	w.close()

	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator = w.site, w
	o.Now = func() time.Time { return time.Now().Add(29 * 24 * time.Hour) }
	tidy := func() {
		w.rec = recovery.New(o)
		must(t, w.rec.Open(t.Context()))
		must(t, w.rec.Tidy(t.Context()))
		w.close()
	}
	known := func() bool {
		e := engine.New(engine.Options{Path: o.EnginePath})
		must(t, e.Open(t.Context()))
		defer e.Close()
		_, err := e.Status(t.Context(), run.ID)
		if err != nil && dr.KindOf(err) != dr.KindNotFound {
			t.Fatal(err)
		}
		return err == nil
	}
	if tidy(); !known() {
		t.Error("forgotten after 29 days")
	}
	o.Now = func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }
	if tidy(); known() {
		t.Error("kept after 31 days")
	}
	w.open()
	defer w.close()
	if seen, steps, err := w.rec.Run(t.Context(), run.ID); err != nil || seen.State != store.RunSucceeded || len(steps) == 0 {
		t.Errorf("%+v %d steps, %v", seen, len(steps), err)
	}
	w.run(recovery.KindCommit, store.RunSucceeded) // which reads the plan of the failover
}
