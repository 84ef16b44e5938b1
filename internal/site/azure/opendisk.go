package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/pageblob"
	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A part is a disk of a machine as it is now: the one attached, or the one that will take its place.
type part struct {
	name string
	id   string
	disk disk
}

// diskKey names a disk in the site's own state.
func diskKey(machine, name string) string { return strings.ToLower(machine) + "/" + name }

// parts are the disks of a machine.
func (s *Site) parts(ctx context.Context, v *vm, p *prepared, machine string) ([]part, error) {
	var out []part
	if p != nil {
		m, err := p.machine()
		if err != nil {
			return nil, err
		}
		for _, d := range m.Disks {
			out = append(out, part{name: d.Name, id: p.Disks[d.Name]})
		}
	} else {
		in := inventory{disks: map[string]disk{}}
		for _, d := range v.disks() {
			var one disk
			if err := s.rest.get(ctx, d.ManagedDisk.ID, nil, &one); err != nil {
				return nil, err
			}
			in.disks[strings.ToLower(d.ManagedDisk.ID)] = one
		}
		for i, d := range s.describe(*v, in).Disks {
			out = append(out, part{name: d.Name, id: v.disks()[i].ManagedDisk.ID})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range out {
		if next := s.state.Next[diskKey(machine, out[i].name)]; next != "" {
			out[i].id = next
		}
	}
	return out, nil
}

// part finds one disk of a machine, and reads what Azure says of it.
func (s *Site) part(ctx context.Context, v *vm, p *prepared, machine, name string) (part, error) {
	all, err := s.parts(ctx, v, p, machine)
	if err != nil {
		return part{}, err
	}
	for _, one := range all {
		if one.name == name {
			return one, s.rest.get(ctx, one.id, nil, &one.disk)
		}
	}
	return part{}, dr.WithHint(fmt.Errorf("machine %s has no disk %s", machine, name), dr.KindNotFound, "understudy machine show "+s.cfg.Name+"/"+machine)
}

// busy reports whether a disk of a machine, or any, is in use.
func (s *Site) busy(machine, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.open {
		if n != 0 && (name != "" && key == diskKey(machine, name) || name == "" && strings.HasPrefix(key, diskKey(machine, ""))) {
			return true
		}
	}
	return false
}

// OpenDisk implements site.DiskOpener. A disk of Azure that was attached once cannot be written from outside: a writer
// gets a new disk with the same content, which takes the other's place when the machine starts or is read.
func (s *Site) OpenDisk(ctx context.Context, machine, name string, write bool) (site.Disk, error) {
	defer s.alone(machine)()
	fail := func(err error) (site.Disk, error) {
		return nil, fmt.Errorf("open disk %s of %s: %w", name, machine, explain(err))
	}
	v, p, err := s.find(ctx, machine)
	if err != nil {
		return fail(err)
	}
	if v != nil && v.Properties.InstanceView.power() != "deallocated" {
		return fail(dr.WithHint(errors.New("the machine runs"), dr.KindConflict, "stop it first"))
	}
	one, err := s.part(ctx, v, p, machine, name)
	if err != nil {
		return fail(err)
	}
	key := diskKey(machine, name)
	s.mu.Lock()
	inUse := s.open[key]
	s.mu.Unlock()
	if inUse < 0 || write && inUse > 0 {
		return fail(dr.WithHint(errors.New("it is in use"), dr.KindConflict, "wait for the copy that uses it"))
	}
	size := one.disk.size()
	switch {
	case write && !uploading(one.disk):
		if one.id, err = s.successor(ctx, machine, one); err != nil {
			return fail(err)
		}
	case !write && uploading(one.disk):
		if err := s.finishDisk(ctx, one.id, size); err != nil {
			return fail(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key]++; write {
		s.open[key] = -1
	}
	ctx, cancel := context.WithCancelCause(s.life)
	return &openDisk{s: s, key: key, size: size, access: s.access(one.id, write), writable: write, ctx: ctx, cancel: cancel}, nil
}

// successor makes a disk that can be written, with the content of one that cannot.
func (s *Site) successor(ctx context.Context, machine string, old part) (string, error) {
	d := old.disk
	id := s.compute("disks", clip(machine+"-"+old.name, 56)+"-"+digest(old.id+"\x00next"))
	tags := map[string]string{}
	for k, v := range d.Tags {
		tags[k] = v
	}
	tags[tagMachine], tags[tagDisk], tags[tagSize] = machine, old.name, fmt.Sprint(d.size())
	if tags[tagSite] == "" {
		tags[tagSite] = s.cfg.Name
	}
	spec := diskSpec{id: id, zone: first(d.Zones), sku: d.SKU.Name, size: d.size(), os: strings.ToLower(d.Properties.OSType), generation: d.Properties.HyperVGeneration, tags: tags}
	// What an earlier try left is not known to be whole.
	if err := s.deleteDisk(ctx, id); err != nil {
		return "", err
	}
	if err := s.putDisk(ctx, spec); err != nil {
		return "", err
	}
	if err := s.copyPages(ctx, s.access(old.id, false), s.access(id, true), roundUp(d.size())); err != nil {
		return "", errors.Join(err, s.deleteDisk(context.WithoutCancel(ctx), id))
	}
	if err := s.endAccess(ctx, old.id); err != nil {
		return "", err
	}
	s.mu.Lock()
	key := diskKey(machine, old.name)
	before := s.state.Next[key]
	s.state.Next[key] = id
	err := s.save()
	s.mu.Unlock()
	if err == nil && before != "" && before != id {
		err = s.deleteDisk(ctx, before) // it was only to take the place of the attached one
	}
	return id, err
}

// copyPages copies what a disk holds without the bytes passing through here.
func (s *Site) copyPages(ctx context.Context, from, to *access, size int64) error {
	data, err := from.ranges(ctx, 0, size)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	for _, e := range clipTo(data, size) {
		for off := e.Offset; off < e.End(); off += maxPages {
			n := min(maxPages, e.End()-off)
			g.Go(func() error {
				return to.do(ctx, func(c *pageblob.Client) error {
					_, source, err := from.grant(ctx)
					if err != nil {
						return err
					}
					_, err = c.UploadPagesFromURL(ctx, source, off, off, n, nil)
					if err != nil {
						from.again(from.client, err)
					}
					return err
				})
			})
		}
	}
	return g.Wait()
}

// finish ends all uploads of a machine's disks, and puts those that take another's place there.
func (s *Site) finish(ctx context.Context, machine string) error {
	v, p, err := s.find(ctx, machine)
	if err != nil {
		return err
	}
	all, err := s.parts(ctx, v, p, machine)
	if err != nil {
		return err
	}
	for i := range all {
		if err := s.rest.get(ctx, all[i].id, nil, &all[i].disk); err != nil {
			return err
		}
		if uploading(all[i].disk) {
			if err := s.finishDisk(ctx, all[i].id, all[i].disk.size()); err != nil {
				return err
			}
		} else if all[i].disk.Properties.DiskState == "ActiveSAS" {
			if err := s.endAccess(ctx, all[i].id); err != nil {
				return err
			}
		}
	}
	next := map[string]string{}
	for _, one := range all {
		next[one.name] = one.id
	}
	return s.place(ctx, machine, v, p, next)
}

// openDisk is a disk in use.
type openDisk struct {
	*access
	s        *Site
	key      string
	size     int64
	writable bool
	ctx      context.Context
	cancel   context.CancelCauseFunc

	edges sync.RWMutex // held alone by writes that end within a page: they read what is around them
	close sync.Once
}

var errClosed = errors.New("the disk is closed")

func (d *openDisk) Size() int64 { return d.size }

// Close implements site.Disk. What was written is on stable storage at once.
func (d *openDisk) Close() error {
	d.close.Do(func() {
		d.cancel(errClosed)
		d.s.mu.Lock()
		defer d.s.mu.Unlock()
		if d.s.open[d.key]--; d.writable || d.s.open[d.key] == 0 {
			delete(d.s.open, d.key)
		}
	})
	return nil
}

func (d *openDisk) Flush() error { return context.Cause(d.ctx) }

// ReadAt implements io.ReaderAt.
func (d *openDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := context.Cause(d.ctx); err != nil {
		return 0, err
	}
	return readAt(d.access, d.size, p, off)
}

func (d *openDisk) check(off, n int64) error {
	switch {
	case context.Cause(d.ctx) != nil:
		return context.Cause(d.ctx)
	case !d.writable:
		return dr.WithHint(errors.New("the disk was opened for reading"), dr.KindInvalid, "")
	case off < 0 || n < 0 || off > d.size || n > d.size-off:
		return dr.WithHint(fmt.Errorf("write %d bytes at %d of a disk of %d", n, off, d.size), dr.KindInvalid, "")
	}
	return nil
}

// whole calls fn with whole pages around [off, off+n): p in the middle of what is there.
func (d *openDisk) whole(p []byte, off int64, fn func(p []byte, off int64) error) error {
	first, last := off/pageSize*pageSize, (off+int64(len(p))+pageSize-1)/pageSize*pageSize
	if first == off && last == off+int64(len(p)) {
		d.edges.RLock()
		defer d.edges.RUnlock()
		return fn(p, off)
	}
	d.edges.Lock()
	defer d.edges.Unlock()
	around := make([]byte, last-first)
	for _, at := range []int64{0, last - first - pageSize} {
		if err := d.readAt(d.ctx, around[at:at+pageSize], first+at); err != nil {
			return err
		}
	}
	copy(around[off-first:], p)
	return fn(around, first)
}

// WriteAt implements io.WriterAt.
func (d *openDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := d.whole(p, off, func(p []byte, off int64) error { return d.write(d.ctx, p, off) }); err != nil {
		return 0, fmt.Errorf("write %s: %w", lastName(d.id), explain(err))
	}
	return len(p), nil
}

// Zero implements site.Disk.
func (d *openDisk) Zero(off, n int64) error {
	if err := d.check(off, n); err != nil {
		return err
	}
	first, last := (off+pageSize-1)/pageSize*pageSize, (off+n)/pageSize*pageSize
	if first >= last {
		_, err := d.WriteAt(make([]byte, n), off)
		return err
	}
	_, err := d.WriteAt(make([]byte, first-off), off)
	if _, e := d.WriteAt(make([]byte, off+n-last), last); e != nil {
		err = errors.Join(err, e)
	}
	d.edges.RLock()
	defer d.edges.RUnlock()
	if e := d.clear(d.ctx, first, last-first); e != nil {
		err = errors.Join(err, fmt.Errorf("clear %s: %w", lastName(d.id), explain(e)))
	}
	return err
}

// Extents implements site.Disk.
func (d *openDisk) Extents(ctx context.Context, off, n int64) ([]dr.Extent, error) {
	if err := context.Cause(d.ctx); err != nil {
		return nil, err
	}
	data, err := d.ranges(ctx, off, n)
	if err != nil {
		return nil, fmt.Errorf("extents of %s: %w", lastName(d.id), explain(err))
	}
	return fill(data, off, n), nil
}

// place attaches to a machine the disks that are to take another's place, and deletes the others unless they are kept.
func (s *Site) place(ctx context.Context, machine string, v *vm, p *prepared, next map[string]string) error {
	var gone []string
	if v == nil {
		one := *p
		one.Disks = map[string]string{}
		for name, id := range p.Disks {
			if one.Disks[name] = next[name]; next[name] != id {
				gone = append(gone, id)
				one.Body = []byte(strings.ReplaceAll(string(one.Body), `"`+id+`"`, `"`+next[name]+`"`))
			}
		}
		if err := s.remember(machine, &one); err != nil {
			return err
		}
	} else {
		var err error
		if gone, err = s.swap(ctx, machine, v, next); err != nil {
			return err
		}
	}
	s.mu.Lock()
	kept := map[string]bool{}
	for _, id := range s.state.Kept[strings.ToLower(machine)] {
		kept[strings.ToLower(id)] = true
	}
	for name := range next {
		delete(s.state.Next, diskKey(machine, name))
	}
	err := s.save()
	s.mu.Unlock()
	for _, id := range gone {
		if !kept[strings.ToLower(id)] {
			err = errors.Join(err, s.deleteDisk(ctx, id))
		}
	}
	return err
}

// swap changes the disks of a machine that is deallocated: data disks are detached first, since a place that is taken
// cannot be given to another. It returns those that were detached.
func (s *Site) swap(ctx context.Context, machine string, v *vm, next map[string]string) (gone []string, err error) {
	var raw struct {
		Properties struct {
			StorageProfile map[string]any `json:"storageProfile"`
		} `json:"properties"`
	}
	if err := s.rest.get(ctx, v.ID, nil, &raw); err != nil {
		return nil, err
	}
	names := map[string]string{} // of disks, by the ID of the one attached
	in := inventory{disks: map[string]disk{}}
	for _, d := range v.disks() {
		var one disk
		if err := s.rest.get(ctx, d.ManagedDisk.ID, nil, &one); err != nil {
			return nil, err
		}
		in.disks[strings.ToLower(d.ManagedDisk.ID)] = one
	}
	for i, d := range s.describe(*v, in).Disks {
		names[strings.ToLower(v.disks()[i].ManagedDisk.ID)] = d.Name
	}
	profile := raw.Properties.StorageProfile
	change := func(ref map[string]any) bool {
		md, _ := ref["managedDisk"].(map[string]any)
		id, _ := md["id"].(string)
		to := next[names[strings.ToLower(id)]]
		if to == "" || strings.EqualFold(to, id) {
			return false
		}
		gone = append(gone, id)
		ref["managedDisk"], ref["name"], ref["createOption"] = map[string]any{"id": to}, lastName(to), "Attach"
		delete(ref, "diskSizeGB")
		return true
	}
	osDisk, _ := profile["osDisk"].(map[string]any)
	data, _ := profile["dataDisks"].([]any)
	changed := osDisk != nil && change(osDisk)
	var left, all []any
	for _, one := range data {
		if ref, ok := one.(map[string]any); ok && !change(ref) {
			left = append(left, ref)
		}
		all = append(all, one)
	}
	if len(gone) == 0 {
		return nil, nil
	}
	patch := func(list []any) error {
		body := map[string]any{"dataDisks": append([]any{}, list...)}
		if changed {
			body["osDisk"] = osDisk
		}
		return s.rest.run(ctx, call{http.MethodPatch, v.ID, nil, map[string]any{"properties": map[string]any{"storageProfile": body}}}, nil)
	}
	if len(left) < len(all) {
		if err := patch(left); err != nil {
			return nil, err
		}
	}
	return gone, patch(all)
}
