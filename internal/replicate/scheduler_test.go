package replicate

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/vault/blob/mem"
)

// watched is a scheduler with one group, in a bubble of virtual time.
type watched struct {
	*rig
	*Scheduler
	stop   func()
	mu     sync.Mutex
	states []string
}

func schedule(t *testing.T, r *rig, rpo time.Duration) *watched {
	w := &watched{rig: r}
	w.Scheduler = NewScheduler(SchedulerConfig{
		Holder: "test", Now: time.Now, Logger: quiet,
		Load: func(context.Context, string) (Work, error) {
			return Work{Group: r.group, RPO: rpo, Cycler: r.cycler}, nil
		},
		OnStatus: func(st Status) {
			w.mu.Lock()
			w.states = append(w.states, st.State)
			w.mu.Unlock()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	w.stop = func() { cancel(); wg.Wait() }
	return w
}

func (w *watched) status(t *testing.T) Status {
	t.Helper()
	st, err := w.Status("shop")
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestSchedulerMeetsTheObjective(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := schedule(t, newRig(t, mem.New()), 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		for range 20 {
			w.write(diskDB, 0, 4096)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if lag := time.Since(w.status(t).KnownGood); lag > 5*time.Second {
				t.Fatalf("the newest point is %v old", lag)
			}
		}
		if n := w.site.Calls(fake.OpCapture); n < 20 || n > 24 {
			t.Errorf("%d cycles in 100 s with an objective of 5 s", n)
		}
	})
}

func TestSchedulerPauseResumeSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := schedule(t, newRig(t, mem.New()), 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		synctest.Wait()
		if err := w.Pause(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		before := w.site.Calls(fake.OpCapture)
		time.Sleep(time.Minute)
		if st := w.status(t); st.State != StatePaused || w.site.Calls(fake.OpCapture) != before {
			t.Errorf("paused group: state %s, %d cycles", st.State, w.site.Calls(fake.OpCapture)-before)
		}
		w.write(diskDB, 0, 4096)
		res, err := w.SyncNow(t.Context(), "shop")
		if err != nil || res.Point == nil {
			t.Fatalf("sync of a paused group: %+v, %v", res, err)
		}
		synctest.Wait()
		if st := w.status(t); st.State != StatePaused {
			t.Errorf("state after the sync: %s", st.State)
		}
		if err := w.Resume("shop"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := w.site.Calls(fake.OpCapture) - before; n < 12 {
			t.Errorf("%d cycles in the minute after resuming", n)
		}
	})
}

// TestSchedulerNeverTwiceAtOnce pauses and resumes a group whose cycle will not end, and one that was asked to sync.
func TestSchedulerNeverTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := schedule(t, newRig(t, mem.New()), 5*time.Second)
		defer w.stop()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		end := make(chan struct{})
		w.site.OnNext(fake.OpCapture, func() { <-end })
		w.Add("shop", false)
		synctest.Wait()
		if err := w.Pause(gone, "shop"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := w.Resume("shop"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.site.Calls(fake.OpCapture); n != 1 {
			t.Fatalf("%d captures were begun while the first went on", n)
		}
		close(end)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := w.status(t); st.Failures != 0 || st.KnownGood.IsZero() {
			t.Errorf("%+v", st)
		}
		if err := w.Pause(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		before := w.site.Calls(fake.OpCapture)
		if _, err := w.SyncNow(gone, "shop"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := w.Resume("shop"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := w.site.Calls(fake.OpCapture) - before; n != 1 {
			t.Errorf("%d cycles were run at once", n)
		}
	})
}

func TestSchedulerRetriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := schedule(t, newRig(t, mem.New()), time.Minute)
		defer w.stop()
		broken := dr.WithHint(errors.New("no route to host"), dr.KindUnavailable, "check the network")
		for range 4 {
			w.site.FailNext(fake.OpCapture, broken)
		}
		w.Add("shop", false)
		time.Sleep(500 * time.Millisecond)
		st := w.status(t)
		if st.State != StateFailing || st.Failures != 1 || st.LastHint != "check the network" {
			t.Errorf("after the first failure: %+v", st)
		}
		time.Sleep(20 * time.Second) // 1 + 2 + 4 + 8 seconds, give or take a quarter
		synctest.Wait()
		if st := w.status(t); st.State != StateWaiting || st.Failures != 0 || st.LastError != "" || st.KnownGood.IsZero() {
			t.Errorf("after it recovered: %+v", st)
		}
	})
}

func TestSchedulerStopsWhenFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := schedule(t, newRig(t, mem.New()), 5*time.Second)
		defer w.stop()
		w.Add("shop", false)
		synctest.Wait()
		if _, err := w.cycler.Vault.TakeOver(t.Context(), "shop", "west", "other", time.Hour); err != nil {
			t.Fatal(err)
		}
		w.write(diskDB, 0, 4096)
		points, err := w.cycler.Vault.Points(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := w.status(t); st.State != StateFenced {
			t.Errorf("state %s: %s", st.State, st.LastError)
		}
		after, err := w.cycler.Vault.Points(t.Context(), "shop")
		if err != nil || len(after) != len(points) {
			t.Errorf("%d points before, %d after the other site took over: %v", len(points), len(after), err)
		}
	})
}

func TestSchedulerGivesLeasesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		w := schedule(t, r, 5*time.Second)
		w.Add("shop", false)
		synctest.Wait()
		w.stop()
		if _, err := r.cycler.Vault.Acquire(t.Context(), "shop", "east", "another controller", time.Minute); err != nil {
			t.Errorf("the lease is still held: %v", err)
		}
	})
}

func TestSchedulerPlansManyGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var mu sync.Mutex
		s := NewScheduler(SchedulerConfig{
			Holder: "test", Now: time.Now, Logger: quiet, Workers: 64,
			Load: func(context.Context, string) (Work, error) {
				mu.Lock()
				calls++
				mu.Unlock()
				return Work{}, errors.New("nothing to do") // planning is what is tested
			},
		})
		const groups = 10_000
		for i := range groups {
			s.Add(string(rune('a'+i%26))+time.Duration(i).String(), false)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Run(ctx) }()
		time.Sleep(700 * time.Millisecond) // a failed group is tried again after 750 ms at the soonest
		mu.Lock()
		had := calls
		mu.Unlock()
		if had != groups {
			t.Errorf("%d of %d groups had their turn", had, groups)
		}
		cancel()
		<-done
	})
}

func TestInterval(t *testing.T) {
	for _, c := range []struct{ rpo, took, want time.Duration }{
		{5 * time.Second, 100 * time.Millisecond, 4300 * time.Millisecond},
		{5 * time.Second, time.Minute, 2500 * time.Millisecond},
		{15 * time.Minute, 10 * time.Second, 14*time.Minute + 39*time.Second},
	} {
		if got := interval(c.rpo, c.took); got != c.want {
			t.Errorf("objective %v, cycle %v: next after %v, want %v", c.rpo, c.took, got, c.want)
		}
	}
}
