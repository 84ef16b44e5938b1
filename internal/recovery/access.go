package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/grant"
	"understudy/internal/nbd"
	"understudy/internal/site"
	"understudy/internal/store"
)

// connections is how many connections a copy uses for each disk it has access to.
const connections = 4

// openGrants begins to serve disks to copies.
func (r *Recovery) openGrants(ctx context.Context) error {
	key, err := grant.Key(filepath.Join(filepath.Dir(r.o.EnginePath), "grant.key"))
	if err != nil {
		return err
	}
	r.grants, err = grant.Open(ctx, grant.Options{Records: r.o.Store, Key: key, Socket: filepath.Join(r.o.RunDir, "grants.sock"),
		Now: r.o.Now, Logger: r.o.Logger, Audit: func(g grant.Record, what string) {
			by := ""
			if g.By != "" {
				by = " by " + g.By
			}
			r.event(ctx, "grant", store.Run{ID: g.Run, Group: GrantedGroup(g.Disk)}, fmt.Sprintf("%s access to %s%s: %s, until %s (%s)", g.Access, g.Disk, by, what, g.Expires.Format(time.RFC3339), g.ID))
		}})
	return err
}

// Grants lists grants, the newest first; only those that have not ended with active.
func (r *Recovery) Grants(ctx context.Context, active bool, limit int) ([]grant.Record, error) {
	return r.o.Store.Grants(ctx, active, limit)
}

// RevokeGrant ends a grant and cuts its connections.
func (r *Recovery) RevokeGrant(ctx context.Context, id, by string) error {
	if err := r.grants.Revoke(ctx, id, by); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// An access is a disk that a copy may use, by a grant that is renewed as long as it is held.
type access struct {
	*nbd.Client
	grants *grant.Manager
	id     string
	stop   func()
	done   sync.WaitGroup
}

// access grants access to a device and connects to it. cancel is called with the reason when the grant ends too early.
func (r *Recovery) access(ctx context.Context, q grant.Request, device nbd.Device, cancel context.CancelCauseFunc) (*access, error) {
	q.TTL = r.o.GrantTTL
	g, err := r.grants.Issue(ctx, q, device)
	if err != nil {
		return nil, err
	}
	a := &access{grants: r.grants, id: g.ID}
	a.Client, err = nbd.Dial(ctx, g.URI, nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}, Connections: connections})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("use grant %s of %s: %w", g.ID, q.Disk, err), r.grants.Release(ctx, g.ID))
	}
	keep, stop := context.WithCancel(ctx)
	// A read that nobody answers must not outlive the copy.
	unhook := context.AfterFunc(keep, func() { _ = a.Client.Close() })
	a.stop = func() { stop(); unhook() }
	a.done.Go(func() { r.renewGrant(keep, g.ID, q.TTL, cancel) })
	return a, nil
}

// renewGrant renews a grant until ctx ends. cancel is called with the reason when the grant ends before that.
func (r *Recovery) renewGrant(ctx context.Context, id string, ttl time.Duration, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(max(ttl/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := r.grants.Renew(ctx, id, ttl); err != nil && ctx.Err() == nil {
			cancel(err)
			return
		}
	}
}

// why replaces an error by the reason for which the grant ended, when that is the cause of it.
func (a *access) why(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := a.grants.Why(context.WithoutCancel(ctx), a.id); ended != nil {
		return ended
	}
	return err
}

// Close gives the access back. When it returns, the device is not used any more.
func (a *access) Close() error {
	a.stop()
	a.done.Wait()
	_ = a.Client.Close()
	return a.grants.Release(context.Background(), a.id)
}

// A witness remembers the first error of a device: what an NBD client is told of it is only a number.
type witness struct {
	nbd.Device
	mu  sync.Mutex
	err error
}

func (w *witness) saw(err error) error {
	if err != nil && err != io.EOF {
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		w.mu.Unlock()
	}
	return err
}

// failed reports whether the device had an error.
func (w *witness) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// cause returns what the device said instead of what became of it on the way.
func (w *witness) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.err != nil {
		return w.err
	}
	return err
}

func (w *witness) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.Device.ReadAt(p, off)
	return n, w.saw(err)
}

// Extents takes what the device does not tell of for data.
func (w *witness) Extents(off, n int64) []dr.Extent {
	if x, ok := w.Device.(interface {
		Extents(off, n int64) []dr.Extent
	}); ok {
		return x.Extents(off, n)
	}
	return []dr.Extent{{Offset: off, Length: n}}
}

// diskDevice hands out a disk of a stopped machine.
type diskDevice struct {
	witness
	disk site.Disk
}

func newDiskDevice(d site.Disk) *diskDevice {
	return &diskDevice{witness: witness{Device: sized{d}}, disk: d}
}

// sized is a disk as a device that is read.
type sized struct{ site.Disk }

// Extents takes what cannot be told for data.
func (d sized) Extents(off, n int64) []dr.Extent {
	list, err := d.Disk.Extents(context.Background(), off, n)
	if err != nil {
		return []dr.Extent{{Offset: off, Length: n}}
	}
	return list
}

func (d *diskDevice) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.disk.WriteAt(p, off)
	return n, d.saw(err)
}

func (d *diskDevice) Zero(off, n int64) error { return d.saw(d.disk.Zero(off, n)) }
func (d *diskDevice) Flush() error            { return d.saw(d.disk.Flush()) }

// capturedDevice hands out a disk of a capture.
type capturedDevice struct {
	site.CapturedDisk
	extents []dr.Extent // of the whole disk, in order
}

// Extents takes what the capture did not tell of for data.
func (d capturedDevice) Extents(off, n int64) []dr.Extent {
	var out []dr.Extent
	end := off + n
	first, _ := slices.BinarySearchFunc(d.extents, off, func(e dr.Extent, off int64) int {
		if e.End() <= off {
			return -1
		}
		return 1
	})
	for _, e := range d.extents[first:] {
		a, b := max(e.Offset, off), min(e.End(), end)
		if a >= b {
			break
		}
		if a > off {
			out = append(out, dr.Extent{Offset: off, Length: a - off})
		}
		out = append(out, dr.Extent{Offset: a, Length: b - a, Zero: e.Zero})
		off = b
	}
	if off < end {
		out = append(out, dr.Extent{Offset: off, Length: end - off})
	}
	return out
}
