package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/vault/segment"

	"github.com/zeebo/blake3"
)

// mergeChunk is how much of a disk a merge reads at a time.
const mergeChunk = 2 << 20

// merge creates one object that holds what the sources, newest first, hold together, and reads it back.
func (v *Vault) merge(ctx context.Context, group string, list []*object, before func() error) (*object, error) {
	newest, oldest := list[0], list[len(list)-1]
	name := mergedName(group, oldest.from, newest.to)
	p, err := v.openUnpinned(ctx, newest.point(), list)
	if err != nil {
		return nil, fmt.Errorf("merge into %s: %w", name, err)
	}
	defer p.Close()
	want, err := v.writeMerged(ctx, name, p, oldest.from, before)
	if err != nil {
		return nil, fmt.Errorf("merge into %s: %w", name, err)
	}
	o, err := v.readBack(ctx, group, name, &want)
	if err != nil {
		// Nobody was told of it: its sources are still there, and start as early.
		err = errors.Join(err, v.scrap(ctx, name))
		return nil, fmt.Errorf("read back merged object: %w", err)
	}
	return o, nil
}

func (v *Vault) writeMerged(ctx context.Context, name string, p *Point, from dr.Position, before func() error) (sum segment.Digest, err error) {
	top := p.layers[0]
	h := *top.file.Header
	desc, err := top.file.Description(v.codec, top.sealer)
	if err != nil {
		return sum, err
	}
	h.Merged, h.Prev, h.To = true, nil, segment.NewPosition(top.o.to)
	if !from.IsZero() {
		prev := segment.NewPosition(from)
		h.Prev = &prev
	}
	h.Seed, h.Part, h.Salt = "", 0, randomBytes(16)
	point := top.o.point()
	h.Bytes, h.Changed = point.Bytes, point.Changed
	key, wrapped, err := v.newKey()
	if err != nil {
		return sum, err
	}
	h.Key = wrapped
	var disks []segment.DiskSize
	for _, d := range top.index.Disks {
		disks = append(disks, segment.DiskSize{ID: d.ID, Size: d.Size})
	}
	up := v.upload(ctx, name)
	w, err := segment.NewWriter(up, segment.WriterOptions{Header: h, Key: key, Codec: v.codec, Disks: disks})
	if err != nil {
		up.abort()
		return sum, err
	}
	sum, err = p.content(ctx, from.IsZero(), func(d *Disk, e dr.Extent, data []byte) error {
		if e.Zero {
			return w.Zero(d.id, e.Offset, e.Length)
		}
		return w.Write(d.id, e.Offset, data)
	})
	if err == nil {
		_, err = w.Finish(segment.Finish{Description: desc, Before: before})
	}
	if err != nil {
		(&deltaSink{Writer: w, up: up}).abort()
		return sum, err
	}
	return sum, up.finish()
}

// readBack opens an object as it is in the store, reads all of it, and compares what it holds, if that is known.
func (v *Vault) readBack(ctx context.Context, group, name string, want *segment.Digest) (*object, error) {
	info, err := v.store.Stat(ctx, name)
	if err != nil {
		return nil, unavailable(err)
	}
	o, f, err := v.readObject(ctx, group, name, info.Size, segment.TrailerSize)
	if err != nil {
		return nil, err
	}
	if err := f.Check(nil); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p, err := v.openUnpinned(ctx, o.point(), []*object{o})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	got, err := p.content(ctx, o.from.IsZero(), nil)
	if err != nil {
		return nil, err
	}
	if want != nil && got != *want {
		return nil, corrupt(fmt.Errorf("%s: holds something else than what was merged", name))
	}
	v.mu.Lock()
	v.heads[name] = o
	v.sound[name] = true
	v.mu.Unlock()
	return o, nil
}

// content hashes what the layers of a point hold, without regard to how they hold it: for each disk its name and size,
// then its extents in order with their data. A base leaves zeros out. fn, if any, is given each piece.
func (p *Point) content(ctx context.Context, base bool, fn func(d *Disk, e dr.Extent, data []byte) error) (sum segment.Digest, err error) {
	hash := blake3.New()
	buf := make([]byte, mergeChunk)
	number := func(n int64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		hash.Write(b[:])
	}
	for _, x := range p.layers[0].index.Disks {
		d := p.disks[x.ID]
		hash.WriteString(d.id.String())
		number(d.size)
		for _, e := range d.held() {
			if e.Zero && base {
				continue
			}
			number(e.Offset)
			number(e.Length)
			if e.Zero {
				hash.Write([]byte{1})
				if fn != nil {
					if err := fn(d, e, nil); err != nil {
						return sum, err
					}
				}
				continue
			}
			hash.Write([]byte{0})
			for off := e.Offset; off < e.End(); off += mergeChunk {
				if err := ctx.Err(); err != nil {
					return sum, err
				}
				data := buf[:min(mergeChunk, e.End()-off)]
				if err := d.read(data, off); err != nil {
					return sum, err
				}
				hash.Write(data)
				if fn != nil {
					if err := fn(d, dr.Extent{Offset: off, Length: int64(len(data))}, data); err != nil {
						return sum, err
					}
				}
			}
		}
	}
	hash.Sum(sum[:0])
	return sum, nil
}

// held returns the extents that the disk's layers hold, and those that are zero because the disk had ended before them.
func (d *Disk) held() []dr.Extent {
	var out []dr.Extent
	add := func(from, to int64, zero bool) {
		to = min(to, d.size)
		if from >= to {
			return
		}
		if k := len(out); k > 0 && out[k-1].Zero == zero && out[k-1].End() == from {
			out[k-1].Length += to - from
		} else {
			out = append(out, dr.Extent{Offset: from, Length: to - from, Zero: zero})
		}
	}
	floor := (d.floor + dr.BlockSize - 1) / dr.BlockSize * dr.BlockSize
	var at int64
	for _, r := range d.runs {
		start, end := int64(r.Block)*dr.BlockSize, int64(r.End())*dr.BlockSize
		add(max(at, floor), start, true)
		add(start, end, r.Zero)
		at = end
	}
	add(max(at, floor), d.size, true)
	return out
}
