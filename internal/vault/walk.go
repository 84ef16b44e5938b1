package vault

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/vault/segment"

	"golang.org/x/sync/errgroup"
)

// walkWindow bounds how many pieces of frames a walk sorts at a time: about 16 GiB of disk in whole frames.
const walkWindow = 1 << 16

// Walk calls fn with all data of the disk, from several goroutines and in any order, and decodes each frame once for
// the pieces of it that lie near each other. What it leaves out reads as zeros. p is valid during the call only.
func (d *Disk) Walk(ctx context.Context, fn func(off int64, p []byte) error) error {
	window := make([]segment.Run, 0, min(walkWindow, 2*len(d.runs)+1024))
	for _, r := range d.runs {
		for block := r.Block; !r.Zero && block < r.End(); {
			cut := frameCut(r, block)
			window = append(window, cut)
			block = cut.End()
			if len(window) == walkWindow {
				if err := d.walk(ctx, window, fn); err != nil {
					return err
				}
				window = window[:0]
			}
		}
	}
	return d.walk(ctx, window, fn)
}

// walk visits pieces, each within one frame, frame by frame.
func (d *Disk) walk(ctx context.Context, pieces []segment.Run, fn func(off int64, p []byte) error) error {
	slices.SortFunc(pieces, func(a, b segment.Run) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Frame, b.Frame), cmp.Compare(a.Block, b.Block))
	})
	eg, each := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0) + 1) // one waits for the store or the taker
	for len(pieces) > 0 && each.Err() == nil {
		n := 1
		for n < len(pieces) && pieces[n].Layer == pieces[0].Layer && pieces[n].Frame == pieces[0].Frame {
			n++
		}
		same := pieces[:n]
		pieces = pieces[n:]
		eg.Go(func() error { return d.walkFrame(each, same, fn) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (d *Disk) walkFrame(ctx context.Context, pieces []segment.Run, fn func(off int64, p []byte) error) error {
	buf := d.p.v.codec.Buffer()
	defer d.p.v.codec.Release(buf)
	if _, err := d.p.layers[pieces[0].Layer].frame(ctx, pieces[0].Frame, buf[:]); err != nil {
		return fmt.Errorf("read disk %s of point %s: %w", d.id, d.p.info.ID, err)
	}
	for _, r := range pieces {
		off := int64(r.Block) * dr.BlockSize
		n := min(int64(r.Count)*dr.BlockSize, d.size-off)
		at := int64(r.Offset) * dr.BlockSize
		if err := fn(off, buf[at:at+n]); err != nil {
			return err
		}
	}
	return nil
}
