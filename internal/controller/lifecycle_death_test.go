package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// deathGate stops at the n-th call of a site, before or after its effect, until the controller is closed.
type deathGate struct {
	mu      sync.Mutex
	left    int // calls until it stops; nothing stops at 0 or below
	late    bool
	stopped chan string
}

func (g *deathGate) arm(n int, late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.late = n, late
}

func (g *deathGate) call(ctx context.Context, what string, do func() error) error {
	g.mu.Lock()
	g.left--
	here, late := g.left == 0, g.late
	g.mu.Unlock()
	if !here {
		return do()
	}
	var err error
	if late {
		err = do()
	}
	g.stopped <- what
	<-ctx.Done()
	return errors.Join(err, ctx.Err())
}

// mortal is a site whose every call may be the last of a controller. Captures are left out: package replicate has its own
// tests of that.
type mortal struct {
	*fake.Site
	g *deathGate
}

// Machines, Capture and so on are those of the site.
func (m mortal) Machines(ctx context.Context) (list []dr.Machine, err error) {
	return m.Site.Machines(ctx)
}

func (m mortal) Provision(ctx context.Context, r site.ProvisionRequest) error {
	return m.g.call(ctx, "provision", func() error { return m.Site.Provision(ctx, r) })
}

func (m mortal) Power(ctx context.Context, n string, a site.PowerAction) error {
	return m.g.call(ctx, string(a)+" "+n, func() error { return m.Site.Power(ctx, n, a) })
}

func (m mortal) Fence(ctx context.Context, n string, hold bool, why string) error {
	return m.g.call(ctx, fmt.Sprint("fence ", n, " ", hold), func() error { return m.Site.Fence(ctx, n, hold, why) })
}

func (m mortal) Preserve(ctx context.Context, n string) error {
	return m.g.call(ctx, "preserve "+n, func() error { return m.Site.Preserve(ctx, n) })
}

func (m mortal) Settle(ctx context.Context, n string, accept bool) error {
	return m.g.call(ctx, "settle "+n, func() error { return m.Site.Settle(ctx, n, accept) })
}

func (m mortal) OpenDisk(ctx context.Context, n, disk string, write bool) (d site.Disk, err error) {
	err = m.g.call(ctx, "open "+n+"/"+disk, func() error { d, err = m.Site.OpenDisk(ctx, n, disk, write); return err })
	if err != nil {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
		return nil, err
	}
	return mortalDisk{d, m.g, ctx}, nil
}

type mortalDisk struct {
	site.Disk
	g   *deathGate
	ctx context.Context
}

func (d mortalDisk) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.g.call(d.ctx, "write", func() error { n, err = d.Disk.WriteAt(p, off); return err })
	return n, err
}

// TestControllerDiesOnTheWayBack stops the controller inside of call after call of both sites, before or after the effect,
// in a reprotection, failbacks, their commit and the end of a split brain. Each goes on where it was: the group ends where
// it should, bit for bit, on the original machines, and runs at one site only.
func TestControllerDiesOnTheWayBack(t *testing.T) {
	w := newTrip(t)
	g := &deathGate{stopped: make(chan string, 1)}
	w.end()
	w.cfg.OpenSite = func(v dr.Site) (site.Driver, error) {
		if v.Name == "east" {
			return mortal{w.east, g}, nil
		}
		return mortal{w.west, g}, nil
	}
	open(t, w.stage)
	deaths := 0
	// dies carries a run out while the controller dies at every few calls.
	dies := func(q recovery.Request) {
		t.Helper()
		q.Group = "shop"
		n := 0
		g.arm(1, false)
		run, err := w.StartRequest(t.Context(), q)
		if err != nil {
			t.Fatalf("%s: %v (%s)", q.Kind, err, dr.Hint(err))
		}
		for ; ; n++ {
			ended := make(chan error, 1)
			watch, stop := context.WithCancel(t.Context())
			go func() {
				ended <- w.WatchRun(watch, run.ID, func(store.Run, []store.Step) error { return nil })
			}()
			select {
			case <-g.stopped:
				stop()
				<-ended
			case err := <-ended:
				stop()
				if err != nil {
					t.Fatal(err)
				}
				g.arm(0, false)
				w.reach(t, run, store.RunSucceeded)
				t.Logf("%s: %d deaths", q.Kind, n)
				deaths += n
				return
			case <-time.After(time.Minute):
				t.Fatalf("%s: nothing happens after %d deaths", q.Kind, n)
			}
			// Each life gets farther than the one before: a step that was begun is done again.
			g.arm(2+2*n, n%2 == 0)
			w.restart()
		}
	}
	dies(recovery.Request{Kind: recovery.KindPlanned})
	w.same(w.west, "after the failover")
	dies(recovery.Request{Kind: recovery.KindCommit})
	w.write(w.west, 3)
	dies(recovery.Request{Kind: recovery.KindReprotect})
	w.stands(dr.StateProtected, "west")
	w.same(w.east, "after reprotect")
	w.write(w.west, 2)
	dies(recovery.Request{Kind: recovery.KindPlanned})
	w.stands(dr.StateFailedOver, "east")
	w.same(w.east, "after the failback")
	dies(recovery.Request{Kind: recovery.KindCommit})
	w.write(w.east, 1)
	dies(recovery.Request{Kind: recovery.KindReprotect})
	w.sync()
	dies(recovery.Request{Kind: recovery.KindFailover})
	w.stands(dr.StateFailedOver, "west")
	w.same(w.west, "after the unplanned failover")

	if err := w.east.Fence(t.Context(), "db", false, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.east.Power(t.Context(), "db", site.PowerStart); err != nil {
		t.Fatal(err)
	}
	until(t, "the stray is seen", func() bool { return status(t, w.stage).Protection.SplitBrain })
	dies(recovery.Request{Kind: recovery.KindResolve, Keep: "east"})
	w.stands(dr.StateProtected, "east")
	w.same(w.east, "after the split brain was resolved")
	if deaths < 20 {
		t.Errorf("died only %d times", deaths)
	}
}

// restart ends the controller and begins another.
func (w *trip) restart() {
	w.end()
	w.east.Restart()
	w.west.Restart()
	open(w.t, w.stage)
}
