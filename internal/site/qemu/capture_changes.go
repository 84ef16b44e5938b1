package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
)

// windowGap is the distance, in bytes, up to which changed areas are asked for together.
const windowGap = 16 << 20

// dirtyFlag marks a changed run of a qemu:dirty-bitmap context.
const dirtyFlag = 1

func (d *liveDisk) ID() dr.DiskID { return dr.DiskID{Machine: d.lv.m.name, Disk: d.disk.Name} }
func (d *liveDisk) Size() int64   { return d.disk.Size }

func (d *liveDisk) ReadAt(p []byte, off int64) (int, error) {
	if !d.lv.built {
		w, err := d.whole()
		if err != nil {
			return 0, viewError(fmt.Errorf("read %s at %d: %w", d.ID(), off, err))
		}
		d = w
	}
	return readDisk(d.client, d.ID(), d.disk.Size, p, off, nil)
}

func (d *liveDisk) Changes(ctx context.Context) (site.Changes, error) {
	c, err := d.changes(ctx)
	if err != nil {
		return site.Changes{}, viewError(fmt.Errorf("changes of %s: %w", d.ID(), err))
	}
	return c, nil
}

func (d *liveDisk) changes(ctx context.Context) (site.Changes, error) {
	size := d.disk.Size
	if !d.lv.built {
		return site.Changes{}, nil
	}
	if d.track.since == "" {
		extents, err := allocation(ctx, d.client, []dr.Extent{{Length: size}})
		return site.Changes{Extents: roundExtents(extents, size), Full: true, Reason: d.track.reason}, err
	}
	var dirty []dr.Extent
	if d.dirty > 0 {
		runs, err := d.client.BlockStatus(ctx, nbd.MetaDirtyBitmap(d.track.since), 0, size)
		if err != nil {
			return site.Changes{}, err
		}
		off := int64(0)
		for _, r := range runs {
			if r.Flags&dirtyFlag != 0 {
				dirty = appendExtent(dirty, dr.Extent{Offset: off, Length: r.Length})
			}
			off += r.Length
		}
	}
	if d.grown >= 0 && d.grown < size {
		// QEMU does not mark what a disk grows by; the block that held the old end has changed, too.
		dirty = unionTail(dirty, d.grown/dr.BlockSize*dr.BlockSize, size)
	}
	// Much of what a file system's creation or trimming marks is zero: the allocation tells.
	extents, err := allocation(ctx, d.client, windows(dirty, windowGap))
	if err != nil {
		return site.Changes{}, err
	}
	return site.Changes{Extents: roundExtents(clip(extents, dirty), size)}, nil
}

// unionTail adds [from, size) to sorted ranges.
func unionTail(ranges []dr.Extent, from, size int64) []dr.Extent {
	var out []dr.Extent
	for _, r := range ranges {
		out = appendExtent(out, dr.Extent{Offset: r.Offset, Length: min(r.End(), from) - r.Offset})
	}
	return appendExtent(out, dr.Extent{Offset: from, Length: size - from})
}

// allocation returns the extents of sorted ranges, with what is known to be zero.
func allocation(ctx context.Context, c *nbd.Client, ranges []dr.Extent) ([]dr.Extent, error) {
	var out []dr.Extent
	for _, r := range ranges {
		extents, err := c.Extents(ctx, r.Offset, r.Length)
		if err != nil {
			return nil, err
		}
		for _, e := range extents {
			out = appendExtent(out, e)
		}
	}
	return out, nil
}

// roundExtents moves the borders between data and zeros so that both are of whole blocks: a block that is partly data
// is data. The ranges as a whole begin and end on blocks or at the end of the disk already.
func roundExtents(extents []dr.Extent, size int64) []dr.Extent {
	var joined, out []dr.Extent
	for _, e := range extents {
		joined = appendExtent(joined, e)
	}
	for _, e := range joined {
		lo, hi := e.Offset, e.End()
		if e.Zero {
			lo = (lo + dr.BlockSize - 1) / dr.BlockSize * dr.BlockSize
			if hi < size {
				hi = hi / dr.BlockSize * dr.BlockSize
			}
		} else {
			lo = lo / dr.BlockSize * dr.BlockSize
			hi = min((hi+dr.BlockSize-1)/dr.BlockSize*dr.BlockSize, size)
		}
		if n := len(out) - 1; n >= 0 {
			lo = max(lo, out[n].End())
		}
		out = appendExtent(out, dr.Extent{Offset: lo, Length: hi - lo, Zero: e.Zero})
	}
	return out
}

// readDisk reads from a view within its size. cause, when not nil, says better than an error why the view has ended.
func readDisk(c *nbd.Client, id dr.DiskID, size int64, p []byte, off int64, cause func() error) (int, error) {
	short := off+int64(len(p)) > size
	if off >= size {
		return 0, io.EOF
	}
	if short {
		p = p[:size-off]
	}
	n, err := c.ReadAt(p, off)
	switch {
	case n == len(p) && short:
		return n, io.EOF
	case n == len(p):
		return n, nil
	case cause != nil && cause() != nil:
		err = cause()
	}
	return n, viewError(fmt.Errorf("read %s at %d: %w", id, off, err))
}

// viewError tells what most likely lies behind the failure of a view.
func viewError(err error) error {
	var refused *nbd.Error
	if errors.As(err, &refused) {
		return dr.WithHint(err, dr.KindUnavailable, "the guest overwrote more than the fleece store could take, or the store was too slow; "+
			"give the site's run folder more space or raise its fleece limit, then capture again")
	}
	return dr.WithHint(err, dr.KindUnavailable, "see whether the machine still runs, then capture again")
}
