package transfer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
)

// A copier is a copy under way.
type copier struct {
	Job
	fresh   bool // what no chunk of the journal covers reads as zeros
	total   int64
	journal *journal
	sums    []Digest // by chunk; nil when they are not all known at the end

	done, read, written, differ atomic.Int64
	unread                      atomic.Bool // something of the source was not read and is not known
	buffers                     sync.Pool
}

// A chunk is a unit of work.
type chunk struct {
	index  int64
	pieces []dr.Extent // what to look at
	data   []dr.Extent // where the source may hold something else than zeros
	zero   bool        // source and target are known to be zero in all pieces
}

// run plans window by window and copies chunks in parallel.
func (c *copier) run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.Parallel)
	size := c.Source.Size()
	c.progress(0)
	err := func() error {
		for off := int64(0); off < size; off += window {
			work, err := c.plan(inner, off, min(off+window, size))
			if err != nil {
				return err
			}
			for _, w := range work {
				if inner.Err() != nil {
					return context.Cause(inner)
				}
				group.Go(func() error {
					if inner.Err() != nil {
						return context.Cause(inner)
					}
					return c.chunk(inner, w)
				})
			}
		}
		return nil
	}()
	// The first error is the cause of the others.
	if e := group.Wait(); e != nil {
		err = e
	}
	if c.DryRun {
		return err
	}
	// What was done is kept also when it was not all.
	if e := c.checkpoint(); e != nil && err == nil {
		err = e
	}
	return err
}

// plan lists the chunks between off and end that have something to look at.
func (c *copier) plan(ctx context.Context, off, end int64) ([]chunk, error) {
	pieces := c.ranges(off, end)
	if len(pieces) == 0 {
		return nil, nil
	}
	// Only the part that the ranges span is asked for.
	off = pieces[0].Offset / ChunkSize * ChunkSize
	end = pieces[len(pieces)-1].End()
	source, err := c.Source.Extents(ctx, off, end-off)
	if err != nil {
		return nil, fmt.Errorf("list extents of the source at %d: %w", off, err)
	}
	var target []dr.Extent // nil: not known
	if x, ok := c.Target.(interface {
		Extents(ctx context.Context, off, n int64) ([]dr.Extent, error)
	}); ok && !c.fresh {
		if target, err = x.Extents(ctx, off, end-off); err != nil {
			return nil, fmt.Errorf("list extents of the target at %d: %w", off, err)
		}
	}
	held := data(target)
	maybe := data(source)
	var out []chunk
	for at := off; at < end; at += ChunkSize {
		last := min(at+ChunkSize, end)
		pieces = drop(pieces, at)
		maybe, held = drop(maybe, at), drop(held, at)
		w := chunk{index: at / ChunkSize, pieces: clip(pieces, at, last), data: clip(maybe, at, last)}
		if len(w.pieces) == 0 {
			continue
		}
		_, known := c.digest(w.index)
		w.zero = !known && len(w.data) == 0 && (c.fresh || target != nil && len(clip(held, at, last)) == 0)
		out = append(out, w)
	}
	return out, nil
}

// data are the extents that may hold something else than zeros.
func data(extents []dr.Extent) []dr.Extent {
	var out []dr.Extent
	for _, e := range extents {
		if !e.Zero {
			out = append(out, e)
		}
	}
	return out
}

// drop leaves out the extents that end before off.
func drop(extents []dr.Extent, off int64) []dr.Extent {
	for len(extents) > 0 && extents[0].End() <= off {
		extents = extents[1:]
	}
	return extents
}

// digest is what the journal says of a chunk.
func (c *copier) digest(index int64) (Digest, bool) {
	if c.journal == nil {
		return Digest{}, false
	}
	return c.journal.digest(index)
}

// buffer is room for the source's and the target's bytes of a chunk.
type buffer struct{ source, target [ChunkSize]byte }

func (c *copier) chunk(ctx context.Context, w chunk) (err error) {
	n := int64(0)
	for _, p := range w.pieces {
		n += p.Length
	}
	defer func() {
		if err == nil {
			c.progress(n)
		}
	}()
	if w.zero {
		c.sum(w.index, zeroDigest(n))
		return nil
	}
	was, known := c.digest(w.index)
	if known && c.Fixed {
		c.sum(w.index, was)
		return nil
	}
	b, _ := c.buffers.Get().(*buffer)
	if b == nil {
		b = &buffer{}
	}
	defer c.buffers.Put(b)

	if known || !c.fresh {
		return c.compare(ctx, w, b, was, known)
	}
	if err := c.readSource(w, w.pieces, b); err != nil {
		return err
	}
	for _, p := range w.pieces {
		if err := c.write(p, w.part(p, &b.source), nil); err != nil {
			return err
		}
	}
	return c.finished(w, b)
}

// compare brings a chunk of the target, which holds something, to what the source has.
func (c *copier) compare(ctx context.Context, w chunk, b *buffer, was Digest, known bool) error {
	if known {
		// The journal says what the target holds.
		if err := c.readSource(w, w.pieces, b); err != nil {
			return err
		}
		if d := w.digest(b); d == was {
			c.sum(w.index, d)
			return nil
		}
		// From here on it does not.
		if err := c.journal.unknown(w.index); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
	}
	for _, p := range w.pieces {
		if _, err := readFull(c.Target, w.part(p, &b.target), p.Offset); err != nil {
			return fmt.Errorf("read target at %d: %w", p.Offset, err)
		}
	}
	var asked []dr.Extent // what the source has to be read for
	switch {
	case known:
	case c.Same == nil || len(w.data) == 0:
		// A chunk without data is not read anyway.
		asked = w.pieces
	default:
		asked = c.ask(w, b)
	}
	if len(asked) > 0 {
		if err := c.readSource(w, asked, b); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, p := range w.pieces {
		if err := c.write(p, w.part(p, &b.source), w.part(p, &b.target)); err != nil {
			return err
		}
	}
	return c.finished(w, b)
}

// ask fills in the source's blocks that are known to be as the target's and returns what is left to be read.
func (c *copier) ask(w chunk, b *buffer) []dr.Extent {
	var left []dr.Extent
	for _, p := range w.pieces {
		for off := p.Offset; off < p.End(); {
			end := min(off-off%dr.BlockSize+dr.BlockSize, p.End())
			e := dr.Extent{Offset: off, Length: end - off}
			target, source := w.part(e, &b.target), w.part(e, &b.source)
			same, sure := false, false
			if whole := off%dr.BlockSize == 0 && (end%dr.BlockSize == 0 || end == c.Source.Size()); whole {
				same, sure = c.Same(off, target)
			}
			switch {
			case sure && same:
				copy(source, target)
			case sure && c.DryRun:
				c.differ.Add(e.Length)
				c.unread.Store(true)
				copy(source, target) // it is counted already
			case len(left) > 0 && left[len(left)-1].End() == off:
				left[len(left)-1].Length += e.Length
			default:
				left = append(left, e)
			}
			off = end
		}
	}
	return left
}

// part is where an extent of the chunk lies in a buffer.
func (w chunk) part(e dr.Extent, b *[ChunkSize]byte) []byte {
	at := e.Offset - w.index*ChunkSize
	return b[at : at+e.Length]
}

// readSource reads extents of the chunk.
func (c *copier) readSource(w chunk, extents []dr.Extent, b *buffer) error {
	for _, e := range extents {
		clear(w.part(e, &b.source))
		for _, d := range clip(w.data, e.Offset, e.End()) {
			n, err := readFull(c.Source, w.part(d, &b.source), d.Offset)
			c.read.Add(int64(n))
			if err != nil {
				return fmt.Errorf("read source at %d: %w", d.Offset, err)
			}
		}
	}
	return nil
}

var zeros [dr.BlockSize]byte

// What is done with a run of blocks.
const (
	leave = iota
	makeZero
	writeData
)

// write brings a piece of the target from what it holds (nil: zeros) to source, run by run of blocks.
func (c *copier) write(p dr.Extent, source, target []byte) error {
	for from, n := int64(0), int64(len(source)); from < n; {
		action, end := leave, from
		for end < n {
			next := min(end+dr.BlockSize-(p.Offset+end)%dr.BlockSize, n)
			block := source[end:next]
			what := writeData
			switch isZero := bytes.Equal(block, zeros[:len(block)]); {
			case target != nil && bytes.Equal(block, target[end:next]), target == nil && isZero:
				what = leave
			case isZero:
				what = makeZero
			}
			if end > from && what != action {
				break
			}
			action, end = what, next
		}
		if err := c.apply(action, p.Offset+from, source[from:end]); err != nil {
			return err
		}
		from = end
	}
	return nil
}

func (c *copier) apply(action int, off int64, block []byte) error {
	n := int64(len(block))
	if action == leave {
		return nil
	}
	c.differ.Add(n)
	switch {
	case c.DryRun:
	case action == makeZero:
		if err := c.Target.Zero(off, n); err != nil {
			return fmt.Errorf("zero target at %d: %w", off, err)
		}
	default:
		if _, err := c.Target.WriteAt(block, off); err != nil {
			return fmt.Errorf("write target at %d: %w", off, err)
		}
		c.written.Add(n)
	}
	return nil
}

// finished notes that the target holds a chunk.
func (c *copier) finished(w chunk, b *buffer) error {
	if c.DryRun && c.sums == nil || c.journal == nil && c.sums == nil {
		return nil
	}
	d := w.digest(b)
	c.sum(w.index, d)
	if c.journal == nil || !c.journal.add(w.index, d) {
		return nil
	}
	return c.checkpoint()
}

func (c *copier) sum(index int64, d Digest) {
	if c.sums != nil {
		c.sums[index] = d
	}
}

// checkpoint puts what was written on stable storage, then its digests in the journal.
func (c *copier) checkpoint() error {
	if c.journal == nil {
		if err := c.Target.Flush(); err != nil {
			return fmt.Errorf("flush target: %w", err)
		}
		return nil
	}
	return c.journal.checkpoint(func() error {
		if err := c.Target.Flush(); err != nil {
			return fmt.Errorf("flush target: %w", err)
		}
		return nil
	})
}

func (c *copier) progress(n int64) {
	done := c.done.Add(n)
	if c.Progress != nil {
		c.Progress(done, c.total)
	}
}

// readFull reads all of p; a disk may answer io.EOF at its end.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
