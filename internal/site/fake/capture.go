package fake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Capture implements site.Driver. All disks of all machines are frozen at one instant, between two writes.
func (s *Site) Capture(ctx context.Context, req site.CaptureRequest) (site.Capture, error) {
	if err := s.begin(ctx, OpCapture); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &capture{site: s, id: req.ID, time: s.Now(), kind: dr.CrashConsistent}
	switch {
	case req.Freeze && s.noFreeze != nil:
		c.short = s.noFreeze
	case req.Freeze && len(req.Hooks) > 0:
		c.kind = dr.ApplicationConsistent
	case req.Freeze:
		c.kind = dr.FilesystemConsistent
	}
	for _, name := range slices.Sorted(slices.Values(req.Machines)) {
		m, err := s.machine(name)
		if err != nil {
			c.settle(false)
			return nil, fmt.Errorf("capture: %w", err)
		}
		def := clone(m.def)
		def.Owner = ""
		slices.SortFunc(def.Disks, func(a, b dr.Disk) int {
			return dr.DiskID{Machine: name, Disk: a.Name}.Compare(dr.DiskID{Machine: name, Disk: b.Name})
		})
		for _, d := range def.Disks {
			dc, err := m.disks[d.Name].capture(req)
			if err != nil {
				c.settle(false)
				return nil, dr.WithHint(fmt.Errorf("capture %s/%s: %w", name, d.Name, err), dr.KindConflict, "wait for the capture under way")
			}
			c.disks = append(c.disks, &capturedDisk{site: s, id: dr.DiskID{Machine: name, Disk: d.Name}, c: dc})
		}
		c.machines = append(c.machines, def)
	}
	return c, nil
}

// RefuseFreeze makes captures that ask for a freeze fall short of it for a reason, or, with nil, not any more.
func (s *Site) RefuseFreeze(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noFreeze = reason
}

type capture struct {
	site     *Site
	id       string
	time     time.Time
	kind     dr.Consistency
	short    error
	machines []dr.Machine
	disks    []*capturedDisk

	mu   sync.Mutex
	done bool
}

func (c *capture) Time() time.Time             { return c.time }
func (c *capture) Paused() time.Duration       { return 0 }
func (c *capture) Consistency() dr.Consistency { return c.kind }
func (c *capture) Shortfall() error            { return c.short }
func (c *capture) Machines() []dr.Machine      { return c.machines }

func (c *capture) Disks() []site.CapturedDisk {
	out := make([]site.CapturedDisk, len(c.disks))
	for i, d := range c.disks {
		out[i] = d
	}
	return out
}

func (c *capture) Commit(ctx context.Context) error { return c.end(ctx, OpCommit) }

func (c *capture) Abort(ctx context.Context) error { return c.end(ctx, OpAbort) }

func (c *capture) end(ctx context.Context, op Op) error {
	if err := c.site.begin(ctx, op); err != nil {
		c.site.mu.Lock()
		defer c.site.mu.Unlock()
		c.loosen()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return dr.WithHint(fmt.Errorf("%s: the capture has ended", op), dr.KindConflict, "end a capture once")
	}
	c.done = true
	c.site.mu.Lock()
	defer c.site.mu.Unlock()
	c.settle(op == OpCommit)
	return nil
}

// settle needs the site's lock.
func (c *capture) settle(commit bool) {
	for _, d := range c.disks {
		if commit {
			d.c.commit(c.id)
		} else {
			d.c.abort()
		}
	}
}

// loosen leaves the capture for the next one to settle. It needs the site's lock.
func (c *capture) loosen() {
	for _, d := range c.disks {
		d.c.loose = true
	}
}

// Restart forgets every open capture without an end and closes every open disk, as the death of the controller does.
// The next capture settles what is left, as on a real site.
func (s *Site) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	for _, m := range s.machines {
		for _, d := range m.disks {
			d.readers, d.writer = 0, false
			for _, t := range d.tracks {
				if t.open != nil {
					t.open.loose = true
				}
			}
		}
	}
}

type capturedDisk struct {
	site *Site
	id   dr.DiskID
	c    *diskCapture
}

func (d *capturedDisk) ID() dr.DiskID { return d.id }
func (d *capturedDisk) Size() int64   { return d.c.view.size }

func (d *capturedDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := d.site.begin(context.Background(), OpRead); err != nil {
		return 0, err
	}
	return d.c.view.ReadAt(p, off)
}

func (d *capturedDisk) Changes(ctx context.Context) (site.Changes, error) {
	if err := d.site.begin(ctx, OpChanges); err != nil {
		return site.Changes{}, err
	}
	// changed belongs to this capture until it ends, and blocks of the view are never written.
	d.site.mu.Lock()
	defer d.site.mu.Unlock()
	ext, err := d.c.extents(ctx)
	return site.Changes{Extents: ext, Full: d.c.reason != "", Reason: d.c.reason}, err
}
