package recovery_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// cloud is a site that copies machines itself. It keeps a snapshot while a copy goes on.
type cloud struct {
	*fake.Site
	mu    sync.Mutex
	kept  map[string]bool // owners of snapshots
	asked []site.CopyRequest
	wait  chan struct{} // copies wait for it, when set
	fail  error         // of the next copy
}

func (c *cloud) CopiesFrom(from site.Driver) bool { _, ok := from.(*cloud); return ok }

func (c *cloud) Check(q site.ProvisionRequest) error {
	if q.Set["cloud.colour"] != "" {
		return dr.WithHint(errors.New("no attribute cloud.colour"), dr.KindInvalid, "cloud.size")
	}
	return nil
}

func (c *cloud) CopyMachine(ctx context.Context, q site.CopyRequest, progress func(done, total int64)) (site.MachineCopy, error) {
	c.mu.Lock()
	c.kept[q.Owner] = true
	c.asked = append(c.asked, q)
	wait, fail := c.wait, c.fail
	c.fail = nil
	c.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return site.MachineCopy{}, context.Cause(ctx)
		}
	}
	if fail != nil {
		return site.MachineCopy{}, fail
	}
	if err := c.Provision(ctx, site.ProvisionRequest{Machine: q.Machine, Owner: q.Owner, Set: q.Set}); err != nil {
		return site.MachineCopy{}, err
	}
	out := site.MachineCopy{Began: time.Now(), Instant: time.Now(), Kind: dr.CrashConsistent}
	from := q.From.(*cloud)
	for _, d := range q.Machine.Disks {
		c.WriteDisk(dr.DiskID{Machine: q.Machine.Name, Disk: d.Name}, 0, from.ReadDisk(dr.DiskID{Machine: q.Source, Disk: d.Name}, 0, int(d.Size)))
		out.Size += d.Size
	}
	progress(out.Size, out.Size)
	out.Copied = time.Now()
	return out, nil
}

func (c *cloud) EndCopy(_ context.Context, _ site.Driver, owner string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, owner)
	return nil
}

func (c *cloud) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kept)
}

// clouds makes both sites ones of a cloud.
func (w *world) clouds() (east, west *cloud) {
	w.addPair(dr.PowerOn)
	east, west = &cloud{Site: w.east, kept: map[string]bool{}}, &cloud{Site: w.west, kept: map[string]bool{}}
	w.wrap = func(name string, _ site.Driver) site.Driver {
		return map[string]site.Driver{"east": east, "west": west}[name]
	}
	return east, west
}

// TestCloneByTheCloud: the cloud makes the copy; what it needs for that is gone at the end, after a failure that was given
// up, and after a cancellation, which leaves no machine either.
func TestCloneByTheCloud(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	_, west := w.clouds()
	w.open()
	spec := recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin", Verify: true,
		Set: map[string]string{"cloud.size": "big", "disk/*/cloud.sku": "fast", "disk/data/cloud.sku": "slow", "nic/0/cloud.ip": "10.0.0.9"}}
	run := w.clone(recovery.KindClone, spec)
	w.wait(run.ID, store.RunSucceeded)
	res := w.result(run.ID)
	if !res.Direct || res.Instant.IsZero() || res.Size != rootSize+dataSize || west.left() != 0 {
		t.Errorf("%+v, %d snapshots left", res, west.left())
	}
	sameDisks(t, w.copyOf(w.west, "twin"), w.copyOf(w.east, "pair"))
	q := west.asked[0]
	if len(q.Set) != 1 || q.Set["cloud.size"] != "big" || !q.Verify || q.Machine.Disks[0].Attributes["cloud.sku"] != "fast" ||
		q.Machine.Disks[1].Attributes["cloud.sku"] != "slow" || q.Machine.NICs[0].Attributes["cloud.ip"] != "10.0.0.9" || q.Machine.NICs[0].MAC != "" {
		t.Errorf("asked for %+v", q)
	}

	spec.As = "third"
	west.wait = make(chan struct{})
	run = w.clone(recovery.KindClone, spec)
	until(t, func() bool { return west.left() == 1 })
	must(t, w.rec.Cancel(t.Context(), run.ID, "enough"))
	w.wait(run.ID, store.RunCancelled)
	if west.left() != 0 {
		t.Error("a cancelled copy left its snapshots")
	}
	west.wait = nil

	west.fail = dr.WithHint(errors.New("no quota"), dr.KindInvalid, "ask for more")
	run = w.clone(recovery.KindClone, spec)
	w.wait(run.ID, store.RunFailed)
	if west.left() != 1 {
		t.Error("a copy that failed cannot go on: its snapshots are gone")
	}
	again, err := w.rec.Resume(t.Context(), run.ID, "ann")
	must(t, err)
	w.wait(again.ID, store.RunSucceeded)
	if west.left() != 0 {
		t.Error("a copy that was resumed left its snapshots")
	}
	sameDisks(t, w.copyOf(w.west, "third"), w.copyOf(w.east, "pair"))

	for key, kind := range map[string]dr.Kind{"cloud.colour": dr.KindInvalid, "disk/none/x": dr.KindNotFound, "disk/data": dr.KindInvalid, "nic/7/x": dr.KindNotFound} {
		bad := spec
		bad.As, bad.Set = "fourth", map[string]string{key: "1"}
		if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindClone, Clone: &bad, By: "ann"}); dr.KindOf(err) != kind || dr.Hint(err) == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
	w.bare()
	bad := spec
	bad.As = "fourth"
	if _, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindClone, Clone: &bad, By: "ann"}); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("attributes where there are none: %v", err)
	}
}
