package replicate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site/fake"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
)

// outage is a group with a spool, whose vault can be taken away.
type outage struct {
	*watched
	remote *faulty.Store
	local  *mem.Store
	limit  int64
}

func spooling(t *testing.T, limit int64) *outage {
	inner := mem.New()
	o := &outage{remote: faulty.New(inner), local: mem.New(), limit: limit}
	r := newRig(t, inner)
	r.store = o.remote
	if err := r.lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.watched = &watched{rig: r}
	o.start(t)
	return o
}

// start begins as a process does that was just started: with what the stores hold.
func (o *outage) start(t *testing.T, away ...faulty.Fault) {
	t.Helper()
	o.remote.Plan()
	o.rig.cycler = o.newCycler(o.key)
	o.remote.Plan(away...)
	var err error
	if o.rig.cycler.Spool, err = o.rig.cycler.Vault.NewSpool(t.Context(), o.local, o.limit); err != nil {
		t.Fatal(err)
	}
	o.watched = schedule(t, o.rig, 5*time.Second)
	o.Add("shop", false)
	synctest.Wait()
}

// write changes the disks and waits for a cycle, n times.
func (o *outage) cycles(n int) {
	for range n {
		o.write(diskDB, 4096, 4096)
		o.write(diskWeb, 1<<20, 5)
		time.Sleep(5 * time.Second)
		synctest.Wait()
	}
}

func (o *outage) points(t *testing.T) []dr.RecoveryPoint {
	t.Helper()
	points, err := o.newCycler(o.key).Vault.Points(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return points
}

// back brings the vault back and waits until everything is in it.
func (o *outage) back(t *testing.T) {
	t.Helper()
	o.remote.Plan()
	time.Sleep(30 * time.Second)
	synctest.Wait()
	if st := o.status(t); st.Spool.Points != 0 || !st.Spool.Away.Since.IsZero() || st.Warning != "" || st.Failures != 0 || time.Since(st.KnownGood) > 5*time.Second {
		t.Fatalf("half a minute after the vault came back: %+v", st)
	}
	o.check()
}

var ways = map[string]func() faulty.Fault{
	"refused": func() faulty.Fault { return faulty.Fault{Times: -1} },
	"hangs":   func() faulty.Fault { return faulty.Fault{Times: -1, Effect: faulty.Slow, Until: make(chan struct{})} },
}

// TestOutage takes the vault away for ten minutes: captures go on, what is told of them is true, and the vault has each of
// them in the end.
func TestOutage(t *testing.T) {
	for name, away := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := spooling(t, 1<<30)
				defer func() { o.stop() }()
				o.cycles(3)
				before := o.status(t)
				if before.Spool.Points != 0 || time.Since(before.KnownGood) > 5*time.Second {
					t.Fatalf("with the vault there: %+v", before)
				}
				had := len(o.points(t))
				o.remote.Plan(away())
				began := time.Now()
				captures := o.site.Calls(fake.OpCapture)
				o.cycles(120)
				if n := o.site.Calls(fake.OpCapture) - captures; n < 80 {
					t.Errorf("%d captures in 10 minutes with an objective of 5 s", n)
				}
				st := o.status(t)
				if st.Spool.Points < 80 || time.Since(st.Spool.Newest) > 15*time.Second || st.Failures != 0 {
					t.Errorf("at the end of the outage: %+v", st)
				}
				if st.KnownGood.After(began) || began.Sub(st.KnownGood) > 10*time.Second || st.LastPoint != before.LastPoint {
					t.Errorf("what the vault has is of %s, at most %s", st.KnownGood, began)
				}
				if at := st.Spool.Away.Since.Sub(began); at < 0 || at > 20*time.Second || !strings.Contains(st.Warning, "cannot be reached since") {
					t.Errorf("away since %s, %q", at, st.Warning)
				}
				if _, err := o.SyncNow(t.Context(), "shop"); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
					t.Errorf("a sync that is not in the vault: %v", err)
				}
				o.back(t)
				if points := o.points(t); len(points) < had+st.Spool.Points {
					t.Errorf("%d points, and %d waited; the vault has %d", had, st.Spool.Points, len(points))
				}
				o.cycles(3)
				if st := o.status(t); st.Spool.Points != 0 || (st.Last.Kind != KindDelta && st.Last.Kind != KindUnchanged) {
					t.Errorf("afterwards: %+v", st)
				}
			})
		})
	}
}

// TestOutageAndRestart ends the process in the outage, and begins another one in it.
func TestOutageAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spooling(t, 1<<30)
		defer func() { o.stop() }()
		o.cycles(2)
		o.remote.Plan(ways["refused"]())
		for range 3 {
			o.cycles(5)
			waits := o.status(t).Spool.Points
			o.stop()
			o.start(t, ways["refused"]())
			if st := o.status(t); st.Spool.Points < waits || waits == 0 || st.Last.Kind == KindResync {
				t.Fatalf("%d waited before the restart, now %+v", waits, st)
			}
		}
		o.back(t)
	})
}

// TestOutageAndTakeOver fails the group over while this side cannot reach the vault: nothing of this side comes after that.
func TestOutageAndTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spooling(t, 1<<30)
		defer func() { o.stop() }()
		o.cycles(2)
		points := o.points(t)
		west := o.newCycler(o.key).Vault
		o.remote.Plan(ways["refused"]())
		o.cycles(10)
		if o.status(t).Spool.Points < 5 {
			t.Fatal("nothing waits")
		}
		o.remote.Plan()
		if _, err := west.TakeOver(t.Context(), "shop", "west", "west", time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := o.status(t); st.State != StateFenced || st.Spool.Points != 0 || !strings.Contains(st.LastError, "spooled points are dropped") && st.Failures < 2 {
			t.Errorf("%+v", st)
		}
		if now := o.points(t); len(now) != len(points) {
			t.Errorf("%d points before, %d now", len(points), len(now))
		}
		if err := o.local.List(t.Context(), "", func(i blob.Info) error { return errors.New(i.Name + " is left in the spool") }); err != nil {
			t.Error(err)
		}
	})
}

// TestOutageAndLostMaps loses the hash maps while the vault, which could replace them, is away.
func TestOutageAndLostMaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spooling(t, 1<<30)
		defer func() { o.stop() }()
		o.cycles(2)
		o.remote.Plan(ways["refused"]())
		o.cycles(4)
		if err := os.RemoveAll(filepath.Join(o.dir, "shop")); err != nil {
			t.Fatal(err)
		}
		o.cycles(4)
		if st := o.status(t); st.Failures == 0 || st.LastHint == "" {
			t.Errorf("%+v", st)
		}
		o.remote.Plan()
		time.Sleep(10 * time.Minute) // it was tried less and less often
		synctest.Wait()
		o.back(t)
	})
}

// TestSpoolTooSmall captures more at once than the spool may hold: that goes to the vault itself, when it is there.
func TestSpoolTooSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spooling(t, 64<<10)
		defer func() { o.stop() }()
		o.cycles(2)
		o.write(diskDB, 0, 256<<10)
		res, err := o.SyncNow(t.Context(), "shop")
		if !errors.Is(err, vault.ErrSpoolFull) {
			t.Fatalf("%+v, %v", res, err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if st := o.status(t); st.Failures != 0 || st.Spool.Points != 0 {
			t.Errorf("%+v", st)
		}
		o.check()
		o.remote.Plan(ways["refused"]())
		o.cycles(200)
		if st := o.status(t); st.Failures == 0 || !strings.Contains(st.LastError, "spool is full") || st.Spool.Bytes > 64<<10 || st.Spool.Points == 0 {
			t.Errorf("an outage that is too long: %+v", st)
		}
		o.remote.Plan()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		o.back(t)
	})
}
