package replicate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"
)

// consistent is a scheduler whose group wants an application-consistent point every hour.
func consistent(t *testing.T, r *rig) *watched {
	t.Helper()
	r.group.Machines[0].Hooks = dr.Hooks{Before: []string{"quiesce"}}
	w := schedule(t, r, time.Minute)
	w.cfg.Load = func(context.Context, string) (Work, error) {
		return Work{Group: r.group, RPO: time.Minute, Cycler: r.cycler, AppEvery: time.Hour}, nil
	}
	return w
}

func (w *watched) kinds(t *testing.T, kind dr.Consistency) (times []time.Time) {
	t.Helper()
	points, err := w.cycler.Vault.Points(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if p.Kind == kind {
			times = append(times, p.Time)
		}
	}
	return times
}

func TestConsistentPointsWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		w := consistent(t, r)
		r.write(diskDB, 0, 4096)
		w.Add("shop", false)
		time.Sleep(4*time.Hour + time.Minute/2)
		synctest.Wait()
		// Nothing was written since the first: the later cycles find nothing, and it stands for them.
		if times := w.kinds(t, dr.ApplicationConsistent); len(times) != 1 {
			t.Errorf("%d points of unchanged disks", len(times))
		}
		write := func(hours int) {
			for range hours * 60 {
				r.write(diskDB, 0, 4096)
				time.Sleep(time.Minute)
			}
			synctest.Wait()
		}
		write(4)
		times := w.kinds(t, dr.ApplicationConsistent)
		if len(times) != 5 || (times[4].Sub(times[3])-time.Hour).Abs() > time.Minute/2 {
			t.Fatalf("%v", times)
		}
		if n := len(w.kinds(t, dr.CrashConsistent)); n < 230 {
			t.Errorf("%d crash-consistent points in four hours", n)
		}
		w.stop()

		// A controller that starts does not freeze guests again before it is time.
		w = consistent(t, r)
		defer w.stop()
		w.Add("shop", false)
		time.Sleep(time.Second)
		write(2)
		after := w.kinds(t, dr.ApplicationConsistent)
		if len(after) != 7 || after[5].Sub(times[4]) < time.Hour-time.Minute/2 || after[5].Sub(times[4]) > time.Hour+2*time.Minute {
			t.Errorf("after a restart: %v", after[len(times):])
		}
	})
}

func TestConsistentPointThatFallsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		w := consistent(t, r)
		defer w.stop()
		r.site.RefuseFreeze(errors.New("machine db: guest agent does not answer"))
		w.Add("shop", false)
		run := func(minutes int) {
			for range minutes {
				r.write(diskDB, 0, 4096)
				time.Sleep(time.Minute)
			}
			synctest.Wait()
		}
		run(21)
		st := w.status(t)
		if n := len(w.kinds(t, dr.CrashConsistent)); n < 15 || len(w.kinds(t, dr.ApplicationConsistent)) != 0 {
			t.Errorf("%d points", n)
		}
		if st.Failures != 0 || st.State != StateWaiting || !strings.Contains(st.Warning, "only crash consistent: machine db: guest agent does not answer") || st.WarningHint == "" {
			t.Errorf("status %+v", st)
		}
		r.site.RefuseFreeze(nil)
		run(6) // it is not waited for the whole hour
		if st := w.status(t); st.Warning != "" || len(w.kinds(t, dr.ApplicationConsistent)) != 1 {
			t.Errorf("warning %q", st.Warning)
		}
	})
}

func TestSyncConsistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mem.New())
		w := schedule(t, r, time.Minute)
		defer w.stop()
		r.write(diskDB, 0, 4096)
		w.Add("shop", false)
		synctest.Wait()
		// The same content, but now it is known to be consistent: that is a point of its own.
		res, err := w.SyncConsistent(t.Context(), "shop")
		if err != nil || res.Point == nil || res.Point.Kind != dr.FilesystemConsistent || res.Consistency != dr.FilesystemConsistent {
			t.Errorf("%+v, %v", res, err)
		}
		if res, err = w.SyncConsistent(t.Context(), "shop"); err != nil || res.Point != nil {
			t.Errorf("again: %+v, %v", res, err)
		}
		r.write(diskDB, 0, 4096)
		if res, err = w.SyncNow(t.Context(), "shop"); err != nil || res.Point == nil || res.Point.Kind != dr.CrashConsistent {
			t.Errorf("the cycle after it: %+v, %v", res, err)
		}
	})
}
