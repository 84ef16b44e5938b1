package fake

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// view is the content of a disk at one instant. Blocks are never written in place: a write replaces them, so that a
// view costs a copy of the map.
type view struct {
	size   int64
	base   io.ReaderAt // below blocks that are absent; nil for zeros
	blocks map[int64][]byte
}

// disk is a disk with its change tracking, one per group that is captured.
type disk struct {
	view
	tracks map[string]*track

	readers int  // openers
	writer  bool // one who writes
}

// track is what changed since a committed capture.
type track struct {
	since string
	dirty map[int64]bool
	open  *diskCapture // capture under way: dirty is what changed since it
}

func newDisk(size int64) *disk {
	return &disk{view: view{size: size, blocks: map[int64][]byte{}}, tracks: map[string]*track{}}
}

// ReadAt implements io.ReaderAt.
func (v *view) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: before the disk", off)
	}
	n := 0
	for n < len(p) && off < v.size {
		k := off / dr.BlockSize
		in := off % dr.BlockSize
		part := p[n : n+int(min(int64(len(p)-n), dr.BlockSize-in, v.size-off))]
		b, err := v.block(k)
		if err != nil {
			return n, err
		}
		if b == nil {
			clear(part)
		} else {
			copy(part, b[in:])
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// block returns a block's content, nil for zeros.
func (v *view) block(k int64) ([]byte, error) {
	if b, ok := v.blocks[k]; ok || v.base == nil {
		return b, nil
	}
	b := make([]byte, dr.BlockSize)
	if _, err := v.base.ReadAt(b, k*dr.BlockSize); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return b, nil
}

func (d *disk) write(off int64, p []byte) error {
	if off < 0 || off+int64(len(p)) > d.view.size {
		return fmt.Errorf("%d bytes at %d: outside of %d bytes", len(p), off, d.view.size)
	}
	for len(p) > 0 {
		k, in := off/dr.BlockSize, off%dr.BlockSize
		old, err := d.block(k)
		if err != nil {
			return err
		}
		b := make([]byte, dr.BlockSize)
		copy(b, old)
		n := copy(b[in:], p)
		d.blocks[k] = b
		for _, t := range d.tracks {
			t.dirty[k] = true
		}
		off += int64(n)
		p = p[n:]
	}
	return nil
}

// zero makes a range read as zeros. Whole blocks give their space back.
func (d *disk) zero(off, n int64) error {
	if off < 0 || n < 0 || off+n > d.size {
		return fmt.Errorf("%d zero bytes at %d: outside of %d bytes", n, off, d.size)
	}
	for n > 0 {
		k, in := off/dr.BlockSize, off%dr.BlockSize
		part := min(n, dr.BlockSize-in)
		switch {
		case part < dr.BlockSize:
			if err := d.write(off, make([]byte, part)); err != nil {
				return err
			}
		case d.base == nil:
			delete(d.blocks, k)
		default:
			d.blocks[k] = nil
		}
		for _, t := range d.tracks {
			t.dirty[k] = true
		}
		off, n = off+part, n-part
	}
	return nil
}

// hydrate copies what is still only in the source.
func (d *disk) hydrate() error {
	if d.base == nil {
		return nil
	}
	for k := int64(0); k*dr.BlockSize < d.size; k++ {
		b, err := d.block(k)
		if err != nil {
			return err
		}
		d.blocks[k] = b
	}
	d.base = nil
	return nil
}

// capture freezes the disk and lets tracking start anew; the caller settles it with commit or abort.
func (d *disk) capture(req site.CaptureRequest) (*diskCapture, error) {
	group, since := req.Group, req.Since
	c := &diskCapture{disk: d, id: req.ID, view: d.view, group: group}
	c.view.blocks = maps.Clone(d.blocks)
	if t := d.tracks[group]; t != nil && t.open != nil && t.open.loose {
		if t.open.id == since {
			t.open.commit(since)
		} else {
			t.open.abort()
		}
	}
	t := d.tracks[group]
	switch {
	case t != nil && t.open != nil:
		return nil, fmt.Errorf("a capture of group %s is under way", group)
	case since == "":
		c.reason = "first capture"
	case t == nil:
		c.reason = "change tracking lost"
	case t.since != since:
		c.reason = "change tracking starts at another capture"
	default:
		c.changed = t.dirty
	}
	c.before = t
	d.tracks[group] = &track{since: since, dirty: map[int64]bool{}, open: c}
	return c, nil
}

type diskCapture struct {
	disk    *disk
	id      string
	loose   bool // nobody will end it: the next capture does
	view    view
	group   string
	before  *track // as it was before the capture
	changed map[int64]bool
	reason  string
}

func (c *diskCapture) commit(id string) {
	// Absent when tracking was lost in between: then nothing is tracked.
	if t := c.disk.tracks[c.group]; t != nil && t.open == c {
		t.since, t.open = id, nil
	}
}

func (c *diskCapture) abort() {
	t := c.disk.tracks[c.group]
	if t == nil || t.open != c {
		return
	}
	if c.before == nil {
		delete(c.disk.tracks, c.group)
		return
	}
	maps.Copy(c.before.dirty, t.dirty)
	c.disk.tracks[c.group] = c.before
}

// extents lists what may have changed. A full list has zero runs apart.
func (c *diskCapture) extents(ctx context.Context) ([]dr.Extent, error) {
	var out []dr.Extent
	add := func(k int64, zero bool) {
		off := k * dr.BlockSize
		n := min(dr.BlockSize, c.view.size-off)
		if n <= 0 {
			return
		}
		if last := len(out) - 1; last >= 0 && out[last].End() == off && out[last].Zero == zero {
			out[last].Length += n
			return
		}
		out = append(out, dr.Extent{Offset: off, Length: n, Zero: zero})
	}
	if c.changed != nil {
		for _, k := range slices.Sorted(maps.Keys(c.changed)) {
			add(k, false)
		}
		return out, context.Cause(ctx)
	}
	if c.view.base != nil {
		return []dr.Extent{{Length: c.view.size}}, context.Cause(ctx)
	}
	var next int64
	for _, k := range slices.Sorted(maps.Keys(c.view.blocks)) {
		if c.view.blocks[k] == nil {
			continue
		}
		if gap := (k - next) * dr.BlockSize; gap > 0 {
			out = append(out, dr.Extent{Offset: next * dr.BlockSize, Length: gap, Zero: true})
		}
		add(k, false)
		next = k + 1
	}
	if off := next * dr.BlockSize; off < c.view.size {
		out = append(out, dr.Extent{Offset: off, Length: c.view.size - off, Zero: true})
	}
	return out, context.Cause(ctx)
}
