package azure

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// tagCopy marks the snapshots of a copy that Azure makes, with the run that they are for.
const tagCopy = "understudy-copy"

// CopiesFrom implements site.Copier: between sites of one cloud and tenant.
func (s *Site) CopiesFrom(from site.Driver) bool {
	other, ok := from.(*Site)
	return ok && strings.EqualFold(s.rest.endpoint, other.rest.endpoint) && strings.EqualFold(s.cfg.Tenant, other.cfg.Tenant)
}

// serverCopy is one copy of a machine that Azure makes: incremental snapshots of all disks, asked for at the same time;
// copies of them in the target's region; disks made from those.
type serverCopy struct {
	from, to *Site
	q        site.CopyRequest
	machine  dr.Machine // as it is at the source
	progress func(done, total int64)
	out      site.MachineCopy

	mu   sync.Mutex
	done map[string]int64 // bytes, by disk
}

// CopyMachine implements site.Copier.
func (s *Site) CopyMachine(ctx context.Context, q site.CopyRequest, progress func(done, total int64)) (site.MachineCopy, error) {
	fail := func(err error) (site.MachineCopy, error) {
		return site.MachineCopy{}, fmt.Errorf("copy machine %s: %w", q.Source, explain(err))
	}
	from, ok := q.From.(*Site)
	if !ok || !s.CopiesFrom(from) {
		return fail(dr.WithHint(errors.New("the sites are not of one cloud"), dr.KindInvalid, ""))
	}
	in, err := from.inventory(ctx)
	if err != nil {
		return fail(err)
	}
	c := &serverCopy{from: from, to: s, q: q, progress: progress, done: map[string]int64{}}
	if c.machine, err = from.captured(ctx, in, q.Source); err != nil {
		return fail(err)
	}
	c.out = site.MachineCopy{Began: s.cfg.Now().UTC(), Kind: dr.CrashConsistent}
	for _, d := range c.machine.Disks {
		c.out.Size += d.Size
	}
	if err := c.snapshots(ctx); err != nil {
		return fail(err)
	}
	if err := s.provision(ctx, site.ProvisionRequest{Machine: q.Machine, Owner: q.Owner, Set: q.Set}, c.fill); err != nil {
		return fail(err)
	}
	c.out.Copied = s.cfg.Now().UTC()
	if q.Verify {
		if err := c.compare(ctx); err != nil {
			return fail(err)
		}
	}
	return c.out, nil
}

// snapshotID is the snapshot of a disk for a copy, at one of the two sites.
func (c *serverCopy) snapshotID(s *Site, disk string) string {
	return s.compute("snapshots", "understudy-copy-"+digest(c.q.Owner)+"-"+digest(c.q.Source+"\x00"+disk))
}

// target is the site where disks are made from snapshots: in one region those of the source serve.
func (c *serverCopy) target() *Site {
	if sameRegion(c.from.cfg.Location, c.to.cfg.Location) {
		return c.from
	}
	return c.to
}

// snapshots takes one of every disk, all at the same time. Those that a copy which was interrupted took count when none
// is missing: otherwise the disks would be of two instants.
func (c *serverCopy) snapshots(ctx context.Context) error {
	var first, last time.Time
	whole := true
	for _, d := range c.machine.Disks {
		var have disk
		err := c.from.rest.get(ctx, c.snapshotID(c.from, d.Name), nil, &have)
		if err != nil && !is(err, http.StatusNotFound) {
			return err
		}
		whole = whole && err == nil
		first, last = span(first, last, have.Properties.TimeCreated)
	}
	if !whole {
		if err := c.forget(ctx); err != nil {
			return err
		}
		if err := c.take(ctx); err != nil {
			return err
		}
		return c.snapshots(ctx)
	}
	c.out.Instant, c.out.Skew = first, last.Sub(first)
	return nil
}

// forget removes what was copied from another instant.
func (c *serverCopy) forget(ctx context.Context) error {
	if err := c.to.EndCopy(ctx, c.from, c.q.Owner); err != nil {
		return err
	}
	v, p, err := c.to.find(ctx, c.q.Machine.Name)
	switch {
	case dr.KindOf(err) == dr.KindNotFound && err != nil, err == nil && (v != nil || p.Owner != c.q.Owner):
		return nil // provisioning refuses what is another's
	case err != nil:
		return err
	}
	for _, id := range p.Disks {
		err = errors.Join(err, c.to.deleteDisk(ctx, id))
	}
	return err
}

func (c *serverCopy) take(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.from.width(64))
	for _, d := range c.machine.Disks {
		g.Go(func() error {
			return c.put(ctx, c.from, d.Name, map[string]any{"createOption": "Copy", "sourceResourceId": d.Path})
		})
	}
	return g.Wait()
}

func (c *serverCopy) put(ctx context.Context, at *Site, name string, creation map[string]any) error {
	tags := map[string]string{tagSite: at.cfg.Name, tagCopy: c.q.Owner, tagMachine: c.q.Source, tagDisk: name}
	body := map[string]any{"location": at.cfg.Location, "tags": tags, "sku": map[string]any{"name": "Standard_LRS"},
		"properties": map[string]any{"incremental": at.can.incremental, "creationData": creation}}
	if err := at.rest.run(ctx, call{http.MethodPut, c.snapshotID(at, name), nil, body}, nil); err != nil {
		return fmt.Errorf("snapshot of %s/%s: %w", c.q.Source, name, err)
	}
	return nil
}

func span(first, last time.Time, text string) (time.Time, time.Time) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return first, last
	}
	if first.IsZero() || at.Before(first) {
		first = at
	}
	if at.After(last) {
		last = at
	}
	return first, last
}

// fill makes one disk of the machine from its snapshot, which is copied to the target's region first.
func (c *serverCopy) fill(ctx context.Context, name string, spec diskSpec) error {
	var old dr.Disk
	for _, d := range c.machine.Disks {
		if d.Name == name {
			old = d
		}
	}
	if old.Path == "" {
		return dr.WithHint(fmt.Errorf("machine %s has no disk %s any more", c.q.Source, name), dr.KindConflict, "copy it again under another name")
	}
	at := c.target()
	if at != c.from {
		if err := c.across(ctx, name, old.Size); err != nil {
			return err
		}
	}
	var have disk
	switch err := c.to.rest.get(ctx, spec.id, nil, &have); {
	case err == nil && have.Properties.DiskState != "" && !uploading(have):
		c.tell(name, old.Size)
		return nil
	case err != nil && !is(err, http.StatusNotFound):
		return err
	}
	body := map[string]any{"location": c.to.cfg.Location, "tags": spec.tags, "sku": map[string]any{"name": spec.sku},
		"properties": map[string]any{"creationData": map[string]any{"createOption": "Copy", "sourceResourceId": c.snapshotID(at, name)}}}
	if spec.size > old.Size {
		body["properties"].(map[string]any)["diskSizeGB"] = (spec.size + 1<<30 - 1) >> 30
	}
	if spec.zone != "" {
		body["zones"] = []string{spec.zone}
	}
	if err := c.to.rest.run(ctx, call{http.MethodPut, spec.id, nil, body}, nil); err != nil {
		return err
	}
	c.tell(name, old.Size)
	return nil
}

// across copies a snapshot to the target's region. That the request succeeded says nothing: the copy has ended when its
// percentage is 100.
func (c *serverCopy) across(ctx context.Context, name string, size int64) error {
	id := c.snapshotID(c.to, name)
	for {
		var have disk
		err := c.to.rest.get(ctx, id, nil, &have)
		switch {
		case is(err, http.StatusNotFound):
			if err := c.put(ctx, c.to, name, map[string]any{"createOption": "CopyStart", "sourceResourceId": c.snapshotID(c.from, name)}); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case have.Properties.CompletionPercent >= 100:
			return nil
		}
		c.tell(name, int64(float64(size)*have.Properties.CompletionPercent/100))
		if err := pause(ctx, c.to.rest.poll); err != nil {
			return err
		}
	}
}

// tell says how much of a disk is there.
func (c *serverCopy) tell(name string, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[name] = bytes
	var sum int64
	for _, n := range c.done {
		sum += n
	}
	c.progress(sum, c.out.Size)
}

// compare reads the snapshots at the source and the disks that were made, and compares what they hold.
func (c *serverCopy) compare(ctx context.Context) error {
	_, p, err := c.to.find(ctx, c.q.Machine.Name)
	if err != nil {
		return err
	}
	c.out.Digests = map[string]string{}
	for _, d := range c.machine.Disks {
		var sums [2]string
		g, gctx := errgroup.WithContext(ctx)
		for i, a := range []*access{c.from.access(c.snapshotID(c.from, d.Name), false), c.to.access(p.Disks[d.Name], false)} {
			g.Go(func() (err error) {
				sums[i], err = a.sum(gctx, d.Size)
				return errors.Join(err, a.s.endAccess(context.WithoutCancel(gctx), a.id))
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("compare disk %s: %w", d.Name, err)
		}
		if sums[0] != sums[1] {
			return dr.WithHint(fmt.Errorf("disk %s of the copy differs from its source: digest %s, not %s", d.Name, sums[1], sums[0]), dr.KindCorrupt, "copy it again, and tell Azure's support")
		}
		c.out.Digests[d.Name] = sums[0]
	}
	return nil
}

// sum is a digest of what the first size bytes hold: of the data and where it is, without what is zero.
func (a *access) sum(ctx context.Context, size int64) (string, error) {
	list, err := a.ranges(ctx, 0, size)
	if err != nil {
		return "", err
	}
	hash := blake3.New()
	buf := make([]byte, maxPages)
	for _, e := range list {
		// Pieces begin at multiples of their length, so that the same content is hashed alike however its pages are listed.
		for off := e.Offset; off < min(e.End(), size); {
			n := min(dr.BlockSize, size-off)
			if whole := min((off/maxPages+1)*maxPages, e.End(), size) - off; whole > n {
				n = whole
			}
			if err := a.readAt(ctx, buf[:n], off); err != nil {
				return "", err
			}
			hashBlocks(hash, buf[:n], off)
			off += n
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// hashBlocks adds the blocks of p that are not zero, each with its place.
func hashBlocks(hash *blake3.Hasher, p []byte, off int64) {
	for len(p) > 0 {
		n := min(len(p), dr.BlockSize)
		for _, b := range p[:n] {
			if b != 0 {
				fmt.Fprintf(hash, "%d:", off)
				_, _ = hash.Write(p[:n]) // a hash takes everything
				break
			}
		}
		p, off = p[n:], off+int64(n)
	}
}

// EndCopy implements site.Copier: it deletes the snapshots of a copy at both sides.
func (s *Site) EndCopy(ctx context.Context, from site.Driver, owner string) error {
	sites := []*Site{s}
	if other, ok := from.(*Site); ok && other != s {
		sites = append(sites, other)
	}
	var errs []error
	for _, at := range sites {
		all, err := list[disk](ctx, at.rest, at.group()+"/providers/Microsoft.Compute/snapshots", nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("end copy: %w", explain(err)))
			continue
		}
		for _, d := range all {
			if !ours(d.Tags, tagCopy, owner) {
				continue
			}
			if err := at.deleteDisk(ctx, d.ID); err != nil {
				errs = append(errs, fmt.Errorf("end copy: %w", explain(err)))
			}
		}
	}
	return errors.Join(errs...)
}
