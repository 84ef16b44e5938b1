package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Capture implements site.Driver by incremental snapshots of all disks, asked for at the same time. They are named by the
// capture's ID, so that the caller's own record decides which of them still counts after a crash.
func (s *Site) Capture(ctx context.Context, q site.CaptureRequest) (site.Capture, error) {
	fail := func(err error) (site.Capture, error) {
		return nil, fmt.Errorf("capture %s: %w", q.Group, explain(err))
	}
	in, err := s.inventory(ctx)
	if err != nil {
		return fail(err)
	}
	c := &capture{s: s, req: q}
	for _, name := range q.Machines {
		m, err := s.captured(ctx, in, name)
		if err != nil {
			return fail(err)
		}
		c.machines = append(c.machines, m)
		for _, d := range m.Disks {
			c.disks = append(c.disks, &capturedDisk{c: c, id: dr.DiskID{Machine: name, Disk: d.Name}, size: d.Size, source: d.Path})
		}
	}
	slices.SortFunc(c.disks, func(a, b *capturedDisk) int { return a.id.Compare(b.id) })
	snapshots, err := s.snapshots(ctx, q.Group)
	if err != nil {
		return fail(err)
	}
	// What a capture that nobody ended left, and what the caller does not count from, is of no use.
	for _, d := range snapshots {
		if d.Tags[tagCapture] != q.Since && slices.Contains(q.Machines, d.Tags[tagMachine]) {
			if err := s.deleteDisk(ctx, d.ID); err != nil {
				return fail(err)
			}
		}
	}
	if err := c.take(ctx, snapshots); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return fail(errors.Join(err, c.remove(clean)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.captures[q.Group] = q.ID
	return c, nil
}

// captured describes a machine to capture. One that is only prepared has disks that can be captured, once they are whole.
func (s *Site) captured(ctx context.Context, in inventory, name string) (m dr.Machine, err error) {
	if v := in.vm(name); v != nil {
		m = s.describe(*v, in)
		m.Name = name
		return m, nil
	}
	defer s.alone(name)()
	if _, _, err := s.find(ctx, name); err != nil {
		return m, err
	}
	if err := s.finish(ctx, name); err != nil {
		return m, err
	}
	_, p, err := s.find(ctx, name)
	if err != nil {
		return m, err
	}
	return p.machine()
}

// snapshots are those of a group.
func (s *Site) snapshots(ctx context.Context, group string) ([]disk, error) {
	all, err := list[disk](ctx, s.rest, s.group()+"/providers/Microsoft.Compute/snapshots", nil)
	return slices.DeleteFunc(all, func(d disk) bool { return !ours(d.Tags, tagGroup, group, tagSite, s.cfg.Name) }), err
}

// capture is one instant, as near as Azure comes to one.
type capture struct {
	s        *Site
	req      site.CaptureRequest
	at       time.Time
	skew     time.Duration
	machines []dr.Machine
	disks    []*capturedDisk
}

// take makes the snapshots.
func (c *capture) take(ctx context.Context, before []disk) error {
	c.at = c.s.cfg.Now()
	var mu sync.Mutex
	var firstAt, lastAt time.Time
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for _, d := range c.disks {
		d.snapshot = c.s.compute("snapshots", "understudy-"+digest(c.req.Group)+"-"+c.req.ID+"-"+digest(d.id.String()))
		for _, b := range before {
			if c.s.can.incremental && c.req.Since != "" && ours(b.Tags, tagCapture, c.req.Since, tagMachine, d.id.Machine, tagDisk, d.id.Disk) {
				d.since = b.ID
			}
		}
		g.Go(func() error {
			tags := map[string]string{tagSite: c.s.cfg.Name, tagGroup: c.req.Group, tagCapture: c.req.ID, tagMachine: d.id.Machine, tagDisk: d.id.Disk}
			body := map[string]any{"location": c.s.cfg.Location, "tags": tags, "sku": map[string]any{"name": "Standard_LRS"},
				"properties": map[string]any{"incremental": c.s.can.incremental, "creationData": map[string]any{"createOption": "Copy", "sourceResourceId": d.source}}}
			if err := c.s.rest.run(ctx, call{http.MethodPut, d.snapshot, nil, body}, nil); err != nil {
				return fmt.Errorf("snapshot of %s: %w", d.id, err)
			}
			var made disk
			if err := c.s.rest.get(ctx, d.snapshot, nil, &made); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			firstAt, lastAt = span(firstAt, lastAt, made.Properties.TimeCreated)
			return nil
		})
	}
	err := g.Wait()
	c.skew = lastAt.Sub(firstAt)
	return err
}

func (c *capture) Time() time.Time             { return c.at }
func (c *capture) Paused() time.Duration       { return 0 }
func (c *capture) Consistency() dr.Consistency { return dr.CrashConsistent }
func (c *capture) Machines() []dr.Machine      { return c.machines }

// Skew implements site.Skewed, by what Azure says of when the snapshots were made.
func (c *capture) Skew() time.Duration { return c.skew }

// Shortfall implements site.Shortfaller.
func (c *capture) Shortfall() error {
	if !c.req.Freeze {
		return nil
	}
	return dr.WithHint(errors.New("captures of Azure freeze no guests yet"), dr.KindInvalid, "the point is crash consistent")
}

func (c *capture) Disks() []site.CapturedDisk {
	out := make([]site.CapturedDisk, len(c.disks))
	for i, d := range c.disks {
		out[i] = d
	}
	return out
}

// Commit keeps the snapshots of this capture, where the next one can be compared with them, and deletes those before it.
func (c *capture) Commit(ctx context.Context) error {
	snapshots, err := c.s.snapshots(ctx, c.req.Group)
	if err == nil {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(16)
		for _, d := range snapshots {
			switch {
			case !slices.Contains(c.req.Machines, d.Tags[tagMachine]):
			case d.Tags[tagCapture] == c.req.ID && c.s.can.incremental:
				g.Go(func() error { return c.s.endAccess(ctx, d.ID) })
			default:
				g.Go(func() error { return c.s.deleteDisk(ctx, d.ID) })
			}
		}
		err = g.Wait()
	}
	if err != nil {
		return fmt.Errorf("end capture of %s: %w", c.req.Group, explain(err))
	}
	c.ended()
	return nil
}

// ended says that the capture is under way no longer.
func (c *capture) ended() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.captures[c.req.Group] == c.req.ID {
		delete(c.s.captures, c.req.Group)
	}
}

// Abort deletes the snapshots of this capture.
func (c *capture) Abort(ctx context.Context) error {
	if err := c.remove(ctx); err != nil {
		return fmt.Errorf("give up capture of %s: %w", c.req.Group, explain(err))
	}
	c.ended()
	return nil
}

func (c *capture) remove(ctx context.Context) error {
	var errs []error
	for _, d := range c.disks {
		if d.snapshot != "" {
			errs = append(errs, c.s.deleteDisk(ctx, d.snapshot))
		}
	}
	return errors.Join(errs...)
}

// capturedDisk is one snapshot.
type capturedDisk struct {
	c        *capture
	id       dr.DiskID
	size     int64
	source   string // the disk
	snapshot string
	since    string // the snapshot of the capture that changes are wanted since; empty for none

	once sync.Once
	a    *access
}

func (d *capturedDisk) ID() dr.DiskID { return d.id }
func (d *capturedDisk) Size() int64   { return d.size }

func (d *capturedDisk) access() *access {
	d.once.Do(func() { d.a = d.c.s.access(d.snapshot, false) })
	return d.a
}

// ReadAt implements io.ReaderAt.
func (d *capturedDisk) ReadAt(p []byte, off int64) (int, error) {
	return readAt(d.access(), d.size, p, off)
}

func readAt(a *access, size int64, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, dr.WithHint(fmt.Errorf("read at %d", off), dr.KindInvalid, "")
	}
	n := int(min(int64(len(p)), size-off))
	if n <= 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if err := a.readAt(context.Background(), p[:n], off); err != nil {
		return 0, fmt.Errorf("read %s: %w", lastName(a.id), explain(err))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Changes implements site.CapturedDisk.
func (d *capturedDisk) Changes(ctx context.Context) (site.Changes, error) {
	reason := "first capture"
	if d.c.req.Since != "" {
		reason = "the snapshot of the last capture is gone"
		if !d.c.s.can.incremental {
			reason = "an Azure Stack Hub cannot compare snapshots"
		}
	}
	if d.since != "" {
		list, err := d.access().since(ctx, d.c.s.access(d.since, false))
		if err == nil {
			return site.Changes{Extents: clipTo(list, d.size)}, nil
		}
		if ctx.Err() != nil {
			return site.Changes{}, context.Cause(ctx)
		}
		reason = "Azure cannot compare the snapshots: " + explain(err).Error()
	}
	list, err := d.access().ranges(ctx, 0, d.size)
	if err != nil {
		return site.Changes{}, fmt.Errorf("changes of %s: %w", d.id, explain(err))
	}
	return site.Changes{Extents: fill(list, 0, d.size), Full: true, Reason: reason}, nil
}

// clipTo cuts extents at the end of a disk.
func clipTo(list []dr.Extent, size int64) []dr.Extent {
	var out []dr.Extent
	for _, e := range list {
		if e.Length = min(e.End(), size) - e.Offset; e.Length > 0 {
			out = append(out, e)
		}
	}
	return out
}

// Forget implements site.Forgetter.
func (s *Site) Forget(ctx context.Context, group string, machines []string) error {
	s.mu.Lock()
	underWay := s.captures[group]
	s.mu.Unlock()
	if underWay != "" {
		return dr.WithHint(fmt.Errorf("end change tracking of %s: capture %s is under way", group, underWay), dr.KindConflict, "wait for its end")
	}
	snapshots, err := s.snapshots(ctx, group)
	for _, d := range snapshots {
		if slices.Contains(machines, d.Tags[tagMachine]) {
			err = errors.Join(err, s.deleteDisk(ctx, d.ID))
		}
	}
	if err != nil {
		return fmt.Errorf("end change tracking of %s: %w", group, explain(err))
	}
	return nil
}
