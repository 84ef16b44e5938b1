package qemu

import (
	"bytes"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A capture of machines that nobody wrote to since the last one touches nothing in QEMU, and yet is a capture.
func TestCaptureClean(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a", "b")
	r := newReplica(l, "a", "b")
	l.write(ids[0], 0, fill(1, 8192))
	r.cycle(r.content(ids...))
	untouched := func() {
		t.Helper()
		r.clean()
		for _, id := range ids {
			c, err := l.handle(id.Machine).monitor(l.Context())
			l.must(err)
			var nodes []blockNode
			l.must(c.RunAll(l.Context(), queryNodes(&nodes)))
			bitmaps := bitmapsOf(nodes, formatNode(id.Disk))
			if b, ok := bitmaps[bitmapPrefix("g")+"c1"]; !ok || !b.Recording || len(bitmaps) != 1 {
				t.Errorf("%s: bitmaps %+v", id, bitmaps)
			}
		}
	}
	begin := func() (site.Capture, site.CaptureRequest) {
		t.Helper()
		before := time.Now()
		c, req := r.begin()
		if c.Paused() != 0 || c.Time().Before(before) || c.Time().After(time.Now()) || len(c.Disks()) != 4 || c.Disks()[3].Size() != 4<<20 {
			t.Errorf("paused %v, time %v, disks %d", c.Paused(), c.Time(), len(c.Disks()))
		}
		for _, d := range c.Disks() {
			if ch, err := d.Changes(l.Context()); err != nil || ch.Full || ch.Extents != nil {
				t.Errorf("%s: %+v, %v", d.ID(), ch, err)
			}
		}
		return c, req
	}
	c, _ := begin()
	untouched()
	r.must(c.Abort(l.Context()))

	// Committed, as when only the description changed; twice, and once by a controller that dies before it can.
	for range 2 {
		c, req := begin()
		r.must(c.Commit(l.Context()))
		r.last = req.ID
		untouched()
	}
	_, req := begin()
	r.last = req.ID
	l.write(ids[2], 1<<20, fill(2, 4096))
	l.reopen()
	untouched()
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 16<<10 {
		t.Errorf("a write after a clean capture: moved %d, full %v", moved, full)
	}

	// Read all the same, as a new seed does.
	for _, commit := range []bool{false, true} {
		c, req = r.begin()
		got := make([]byte, 4<<20)
		for i, d := range c.Disks() {
			_, err := d.ReadAt(got, 0)
			l.must(err)
			if !bytes.Equal(got, r.disks[d.ID()]) {
				t.Errorf("disk %d differs", i)
			}
			l.write(d.ID(), 2<<20, fill(3, 4096)) // the view is of an instant before
		}
		if commit {
			l.must(c.Commit(l.Context()))
			r.last = req.ID
		} else {
			l.must(c.Abort(l.Context()))
		}
		if _, err := c.Disks()[0].ReadAt(got, 0); err == nil {
			t.Error("a capture that has ended can be read")
		}
		if full, moved := r.cycle(r.content(ids...)); full != nil || moved == 0 || moved > 4*32<<10 {
			t.Errorf("after a late reading: moved %d, full %v", moved, full)
		}
	}
	// Written to before it is read: what was captured cannot be had any more.
	c, _ = begin()
	l.write(ids[3], 0, fill(4, 4096))
	_, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0)
	l.wantKind(err, dr.KindUnavailable)
	l.must(c.Abort(l.Context()))
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 4096 {
		t.Errorf("after a late reading that failed: moved %d, full %v", moved, full)
	}
	// Half a group: the instant is one for all.
	l.write(ids[0], 0, fill(5, 4096))
	if full, _ := r.cycle(r.content(ids...)); full != nil {
		t.Errorf("one machine of two written to: full %v", full)
	}
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 0 {
		t.Errorf("nothing changed: moved %d, full %v", moved, full)
	}
}
