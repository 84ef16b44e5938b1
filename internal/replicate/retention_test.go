package replicate

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

// keeping is a scheduler whose groups keep everything for five minutes and a point each two minutes for twenty.
func keeping(t *testing.T, r *rig, rpo time.Duration) *watched {
	t.Helper()
	w := schedule(t, r, rpo)
	w.cfg.Load = func(context.Context, string) (Work, error) {
		return Work{Group: r.group, RPO: rpo, Cycler: r.cycler,
			Keep: []dr.Tier{{For: 5 * time.Minute}, {Every: 2 * time.Minute, For: 20 * time.Minute}}}, nil
	}
	return w
}

// TestRetentionBesideCycles runs 45 minutes of cycles at 5 s: points thin out as the policy says, no cycle is late, and a
// reader that has had a point open since before it was dropped still reads it.
func TestRetentionBesideCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		w := keeping(t, r, 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		var open *vault.Point
		var held []byte
		most := 0
		for i := range 45 * 12 {
			w.write(diskDB, int64(i%64)*4096, 4096)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if lag := time.Since(w.status(t).KnownGood); lag > 5*time.Second {
				t.Fatalf("after %d cycles the newest point is %v old", i, lag)
			}
			if i == 50 {
				var err error
				if open, err = r.cycler.Vault.OpenPoint(t.Context(), "shop", w.status(t).LastPoint); err != nil {
					t.Fatal(err)
				}
				defer open.Close()
				held = r.site.ReadDisk(diskDB, 0, diskSize)
			}
			if i%20 == 0 {
				points, err := r.cycler.Vault.Points(t.Context(), "shop")
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, len(points))
			}
		}
		points, err := r.cycler.Vault.Points(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d points of %d cycles, at most %d", len(points), r.site.Calls(fake.OpCapture), most)
		// 60 of five minutes, 60 or so until the next compaction, 8 of the rest of the twenty minutes.
		if len(points) < 60 || most > 140 {
			t.Errorf("%d points, at most %d", len(points), most)
		}
		if oldest := time.Since(points[0].Time); oldest < 15*time.Minute || oldest > 27*time.Minute {
			t.Errorf("the oldest point is %v old", oldest)
		}
		if _, err := r.cycler.Vault.FindPoint(t.Context(), "shop", open.Info().ID); dr.KindOf(err) != dr.KindNotFound {
			t.Errorf("point %s was not dropped: %v", open.Info().ID, err)
		}
		d, err := open.Disk(diskDB)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, diskSize)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, held) {
			t.Errorf("the open point reads differently: %v", err)
		}
		if st := w.status(t); st.Warning != "" || st.Failures != 0 {
			t.Errorf("status %+v", st)
		}
		if err := w.Pause(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		r.check()
	})
}

// stuck is a store whose marks, which only compactions write, cannot be written: each attempt fails, or hangs until it
// is given up.
type stuck struct {
	blob.Store
	err  error // nil: hang
	hits atomic.Int32
	over atomic.Int32
}

func (s *stuck) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	if !strings.HasSuffix(name, "/marks") {
		return s.Store.PutTagged(ctx, name, data, tag)
	}
	s.hits.Add(1)
	if s.err == nil {
		<-ctx.Done()
		s.over.Add(1)
		return "", ctx.Err()
	}
	return "", s.err
}

func TestRetentionThatFailsIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &stuck{Store: mem.New(), err: dr.WithHint(errors.New("read-only file system"), dr.KindUnavailable, "remount it")}
		r := newRig(t, st)
		w := keeping(t, r, 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		run := func(d time.Duration) {
			for range d / (5 * time.Second) {
				w.write(diskDB, 0, 4096)
				time.Sleep(5 * time.Second)
			}
			synctest.Wait()
		}
		run(16 * time.Minute)
		s := w.status(t)
		if s.State != StateWaiting || s.Failures != 0 || s.LastError != "" || time.Since(s.KnownGood) > 5*time.Second {
			t.Errorf("replication suffers: %+v", s)
		}
		if !strings.Contains(s.Warning, "old recovery points are not thinned out: compact group shop") || s.WarningHint != "remount it" {
			t.Errorf("warning %q, hint %q", s.Warning, s.WarningHint)
		}
		if n := st.hits.Load(); n == 0 || n > 3 {
			t.Errorf("tried %d times in 16 minutes", n)
		}
		st.err = nil // from now on it hangs
		st.hits.Store(0)
		run(6 * time.Minute)
		if st.hits.Load() == 0 || time.Since(w.status(t).KnownGood) > 5*time.Second {
			t.Errorf("a compaction that hangs delays cycles: %+v", w.status(t))
		}
		if err := w.Pause(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		if st.over.Load() != st.hits.Load() {
			t.Error("the compaction goes on while the group is paused")
		}
		if err := w.Resume("shop"); err != nil {
			t.Fatal(err)
		}
		run(6 * time.Minute)
		hits := st.hits.Load()
		if err := w.Remove(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		if hits < 2 || st.over.Load() != hits {
			t.Errorf("%d compactions begun, %d over after the removal", hits, st.over.Load())
		}
		w.Add("shop", false)
		run(6 * time.Minute)
		w.stop()
		if st.over.Load() != st.hits.Load() || st.hits.Load() <= hits {
			t.Errorf("%d compactions begun, %d over after the stop", st.hits.Load(), st.over.Load())
		}
	})
}

func TestRetentionNeedsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		r.cycler = r.newCycler()
		w := keeping(t, r, 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		for range 150 {
			w.write(diskDB, 0, 4096)
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		points, err := r.cycler.Vault.Points(t.Context(), "shop")
		if st := w.status(t); err != nil || len(points) < 100 || st.Warning != "" || st.LastError != "" {
			t.Errorf("%d points, %+v, %v", len(points), st, err)
		}
	})
}

// TestCompactionsAreBounded queues the compactions of many groups: one runs at a time, and each has its turn.
func TestCompactionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		var at, most, turns atomic.Int32
		s := NewScheduler(SchedulerConfig{Holder: "test", Now: time.Now, Logger: quiet})
		s.cfg.Load = func(_ context.Context, name string) (Work, error) {
			v, err := vault.Open(t.Context(), &counted{r.store, &at, &most, &turns}, vault.Options{Identities: []age.Identity{r.key}, Now: time.Now, Logger: quiet})
			g := r.group
			g.Name = name
			return Work{Group: g, RPO: 30 * time.Second, Cycler: &Cycler{Driver: r.site, Vault: v, Dir: r.dir, Now: time.Now, Logger: quiet}}, err
		}
		for _, name := range strings.Fields("a b c d e f") {
			s.Add(name, false)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Run(ctx) }()
		time.Sleep(8 * time.Minute)
		cancel()
		<-done
		if most.Load() != 1 || turns.Load() < 6 {
			t.Errorf("%d at once, %d in all", most.Load(), turns.Load())
		}
	})
}

// counted counts the compactions that list the parts of seeds, which takes each of them ten seconds.
type counted struct {
	blob.Store
	at, most, turns *atomic.Int32
}

func (c *counted) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if strings.HasSuffix(prefix, "/s/") {
		c.turns.Add(1)
		c.most.Store(max(c.most.Load(), c.at.Add(1)))
		defer c.at.Add(-1)
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.Store.List(ctx, prefix, fn)
}
