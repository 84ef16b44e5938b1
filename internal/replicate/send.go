package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/vault"
)

// chunk is how many bytes of a disk one worker looks at in one go.
const chunk = 1 << 20

// readers is how many chunks are read at once. Reading waits for the source and comparing for the processor, so there
// are a few more than processors.
func readers() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// diskWork is what one disk needs looked at.
type diskWork struct {
	disk    site.CapturedDisk
	extents []dr.Extent
	full    bool
}

// plan asks the site what changed. The reason is set when some disk must be compared as a whole.
func (cy *cycle) plan(ctx context.Context) (work []diskWork, reason string, err error) {
	for _, d := range cy.view.Disks() {
		ch, err := d.Changes(ctx)
		if err != nil {
			return nil, "", fmt.Errorf("ask what changed on %s: %w", d.ID(), err)
		}
		if ch.Full && reason == "" {
			reason = ch.Reason
		}
		if !ch.Full && len(cy.maps) == 0 {
			// A seed over an older history needs all of the disk, whatever changed lately.
			ch = site.Changes{Extents: []dr.Extent{{Length: d.Size()}}, Full: true}
		}
		for _, e := range ch.Extents {
			if !e.Zero {
				cy.meter.total += e.Length
			}
		}
		work = append(work, diskWork{disk: d, extents: ch.Extents, full: ch.Full})
	}
	if cy.rebuilt != "" {
		reason = cy.rebuilt
	}
	return work, reason, nil
}

// send reads what may have changed, compares it and writes what did.
func (cy *cycle) send(ctx context.Context, w *vault.Writer, work []diskWork, res Result) (Result, error) {
	cy.report("sending")
	buffers := make(chan []byte, readers())
	for range cap(buffers) {
		buffers <- nil
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(cap(buffers))
	for _, dw := range work {
		for _, e := range dw.extents {
			if e.Zero {
				if err := cy.sendZeros(w, dw, e); err != nil {
					return res, errors.Join(err, g.Wait())
				}
				continue
			}
			for off := e.Offset; off < e.End(); {
				n := min(chunk-off%chunk, e.End()-off)
				at := off
				g.Go(func() error { return cy.sendChunk(each, w, dw, buffers, at, n) })
				off += n
				if each.Err() != nil {
					return res, errors.Join(g.Wait(), ctx.Err())
				}
			}
		}
	}
	if err := g.Wait(); err != nil {
		return res, err
	}
	res.Read, res.Changed, res.Stored = cy.meter.done.Load(), w.Changed(), w.Stored()
	return res, ctx.Err()
}

func (cy *cycle) sendZeros(w *vault.Writer, dw diskWork, e dr.Extent) error {
	id := dw.disk.ID()
	if w.Resumed() {
		// A part that is durable may hold data here which the hash map has forgotten; zeros cost an index entry only.
		return w.Zero(id, e.Offset, e.Length)
	}
	cy.comparing.RLock()
	defer cy.comparing.RUnlock()
	return cy.maps[id].DiffZero(e.Offset, e.Length, func(off, n int64) error { return w.Zero(id, off, n) })
}

func (cy *cycle) sendChunk(ctx context.Context, w *vault.Writer, dw diskWork, buffers chan []byte, off, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	buf := <-buffers
	defer func() { buffers <- buf }()
	if buf == nil {
		buf = make([]byte, chunk)
	}
	id := dw.disk.ID()
	p := buf[:n]
	if _, err := dw.disk.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at %d: %w", id, off, err)
	}
	if err := cy.compare(w, id, off, p); err != nil {
		return fmt.Errorf("send %s at %d: %w", id, off, err)
	}
	if w.Resumed() {
		if err := rezero(w, id, off, p); err != nil {
			return fmt.Errorf("send %s at %d: %w", id, off, err)
		}
	}
	cy.meter.done.Add(n)
	cy.meter.stored.Store(w.Stored())
	cy.publish()
	return cy.markDurable()
}

// compare writes the blocks of p that differ from what the vault has.
func (cy *cycle) compare(w *vault.Writer, id dr.DiskID, off int64, p []byte) error {
	cy.comparing.RLock()
	defer cy.comparing.RUnlock()
	return cy.maps[id].Diff(off, p, func(at int64, blocks []byte, zero bool) error {
		if zero {
			return w.Zero(id, at, int64(len(blocks)))
		}
		return w.Write(id, at, blocks)
	})
}

// rezero writes the zero blocks of p into a resumed seed: see sendZeros.
func rezero(w *vault.Writer, id dr.DiskID, off int64, p []byte) error {
	for i := 0; i < len(p); {
		j := i
		for j < len(p) && isZero(p[j:min(j+dr.BlockSize, len(p))]) {
			j += dr.BlockSize
		}
		j = min(j, len(p))
		if j > i {
			if err := w.Zero(id, off+int64(i), int64(j-i)); err != nil {
				return err
			}
		}
		i = j + dr.BlockSize
	}
	return nil
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// meter counts what a cycle has done.
type meter struct {
	phase  atomic.Pointer[string]
	total  int64
	done   atomic.Int64
	stored atomic.Int64
}

func (m *meter) progress() Progress {
	p := Progress{Total: m.total, Done: m.done.Load(), Stored: m.stored.Load()}
	if phase := m.phase.Load(); phase != nil {
		p.Phase = *phase
	}
	return p
}
