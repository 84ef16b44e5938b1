package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"

	"golang.org/x/sync/errgroup"
)

// A Point is a recovery point opened for reading. It keeps what it reads in the vault until Close.
type Point struct {
	v        *Vault
	ctx      context.Context
	cancel   context.CancelFunc
	info     dr.RecoveryPoint
	machines []dr.Machine
	layers   []*layer // newest first
	disks    map[dr.DiskID]*Disk
	cache    *frameCache
	pin      *pin
	ahead    sync.WaitGroup
}

// OpenPoint opens a recovery point by its ID. It needs an identity. The objects that it reads are not deleted until Close.
func (v *Vault) OpenPoint(ctx context.Context, group, id string) (*Point, error) {
	var err error
	for range 3 {
		var p *Point
		p, err = v.openPoint(ctx, group, id)
		if err == nil {
			return p, nil
		}
		// An object may go between being listed and being pinned; then others hold the point.
		if !errors.Is(err, blob.ErrNotFound) {
			break
		}
	}
	return nil, fmt.Errorf("open point %s of group %s: %w", id, group, err)
}

func (v *Vault) openPoint(ctx context.Context, group, id string) (*Point, error) {
	listed := v.now()
	w, err := v.scan(ctx, group)
	if err != nil {
		return nil, err
	}
	at, err := w.find(id)
	if err != nil {
		return nil, err
	}
	return v.openPath(ctx, group, w.info(at), w.path(at), listed)
}

// openPath pins and opens the objects that a position is made of, newest first.
func (v *Vault) openPath(ctx context.Context, group string, info dr.RecoveryPoint, path []*object, listed time.Time) (*Point, error) {
	pin, err := v.pin(ctx, group, info.ID, path, listed)
	if err != nil {
		return nil, err
	}
	p, err := v.openUnpinned(ctx, info, path)
	if err != nil {
		return nil, errors.Join(err, pin.close())
	}
	p.pin = pin
	return p, nil
}

// openUnpinned opens objects, newest first, for one who knows that they stay.
func (v *Vault) openUnpinned(ctx context.Context, info dr.RecoveryPoint, path []*object) (*Point, error) {
	p := &Point{v: v, info: info, cache: newFrameCache(v.codec, v.o.CacheBytes)}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := p.open(ctx, path); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

func (p *Point) open(ctx context.Context, path []*object) error {
	p.layers = make([]*layer, len(path))
	eg, ectx := errgroup.WithContext(ctx)
	eg.SetLimit(8)
	for i, o := range path {
		eg.Go(func() (err error) { p.layers[i], err = p.v.openLayer(ectx, o); return err })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	var err error
	if p.machines, err = p.layers[0].machines(); err != nil {
		return err
	}
	p.disks = make(map[dr.DiskID]*Disk)
	for _, d := range p.layers[0].index.Disks {
		runs, floor := flatten(p.layers, d.ID, d.Size)
		p.disks[d.ID] = &Disk{p: p, id: d.ID, size: d.Size, floor: floor, runs: runs}
	}
	return nil
}

// flatten lays what the layers, newest first, hold of a disk over each other. Runs name their layer. From floor on (in
// bytes), what no layer holds is zero whatever lies below them: the disk ended there once, or did not exist.
func flatten(layers []*layer, id dr.DiskID, size int64) (runs []segment.Run, floor int64) {
	var stack [][]segment.Run // newest first
	floor = size
	for i, l := range layers {
		d := l.index.Disk(id)
		if d == nil {
			floor = 0
			break
		}
		floor = min(floor, d.Size)
		runs := slices.Clone(segment.Clip(d.Runs, blocks(floor)))
		for j := range runs {
			runs[j].Layer = uint16(i)
		}
		stack = append(stack, runs)
	}
	slices.Reverse(stack)
	return segment.Flatten(stack), floor
}

func blocks(size int64) uint64 { return uint64(size+dr.BlockSize-1) / dr.BlockSize }

// Info describes the point.
func (p *Point) Info() dr.RecoveryPoint { return p.info }

// Machines returns the machines as they were described at the capture.
func (p *Point) Machines() []dr.Machine { return p.machines }

// Disk returns a disk of the point, or dr.KindNotFound.
func (p *Point) Disk(id dr.DiskID) (*Disk, error) {
	d := p.disks[id]
	if d == nil {
		return nil, dr.WithHint(fmt.Errorf("point %s of group %s has no disk %s", p.info.ID, p.info.Group, id), dr.KindNotFound, "")
	}
	return d, nil
}

// Close ends reading; the vault may then delete what only this point needed.
func (p *Point) Close() error {
	p.cancel()
	p.ahead.Wait()
	if p.pin == nil {
		return nil
	}
	return p.pin.close()
}

// A Disk is a disk of a recovery point. It is safe for concurrent use.
type Disk struct {
	p     *Point
	id    dr.DiskID
	size  int64
	floor int64 // see flatten
	runs  []segment.Run

	mu   sync.Mutex
	next int64 // where a sequential reader goes on
}

// Size is the disk's virtual size in bytes.
func (d *Disk) Size() int64 { return d.size }

// piece is a stretch of one frame that a read wants.
type piece struct {
	run  segment.Run // within one frame
	skip int64       // bytes of it before what is wanted
	dst  []byte
}

// ReadAt implements io.ReaderAt. A read of several frames decodes them in parallel; one that follows another has the
// frames after it decoded ahead.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, dr.WithHint(fmt.Errorf("read disk %s: negative offset", d.id), dr.KindInvalid, "")
	}
	if off >= d.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > d.size-off {
		p, end = p[:d.size-off], io.EOF
	}
	if err := d.read(p, off); err != nil {
		return 0, fmt.Errorf("read disk %s of point %s at %d: %w", d.id, d.p.info.ID, off, err)
	}
	d.readAhead(off, int64(len(p)))
	return len(p), end
}

func (d *Disk) read(p []byte, off int64) error {
	var few [8]piece
	pieces := d.pieces(few[:0], p, off)
	if len(pieces) == 1 {
		return d.fill(pieces[0])
	}
	eg := errgroup.Group{}
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, piece := range pieces {
		eg.Go(func() error { return d.fill(piece) })
	}
	return eg.Wait()
}

// pieces clears what is zero in p and returns what is to be read from frames.
func (d *Disk) pieces(out []piece, p []byte, off int64) []piece {
	end := off + int64(len(p))
	at := off
	for i := segment.Find(d.runs, uint64(off/dr.BlockSize)); i < len(d.runs) && at < end; i++ {
		r := d.runs[i]
		start := int64(r.Block) * dr.BlockSize
		if start >= end {
			break
		}
		if start > at {
			clear(p[at-off : start-off])
			at = start
		}
		stop := min(int64(r.End())*dr.BlockSize, end)
		if r.Zero {
			clear(p[at-off : stop-off])
			at = stop
			continue
		}
		for at < stop {
			cut := frameCut(r, uint64(at/dr.BlockSize))
			to := min(int64(cut.End())*dr.BlockSize, stop)
			out = append(out, piece{run: cut, skip: at - int64(cut.Block)*dr.BlockSize, dst: p[at-off : to-off]})
			at = to
		}
	}
	if at < end {
		clear(p[at-off:])
	}
	return out
}

// frameCut returns the part of a run of data that is in one frame, from a block on.
func frameCut(r segment.Run, block uint64) segment.Run {
	cut := r.Cut(block, r.End())
	cut.Count = min(cut.Count, segment.FrameBlocks-uint32(cut.Offset))
	return cut
}

func (d *Disk) fill(pc piece) error {
	r := pc.run
	l := d.p.layers[r.Layer]
	key := frameKey{r.Layer, r.Frame}
	if r.Offset == 0 && pc.skip == 0 && len(pc.dst) == segment.FrameSize && !d.p.cache.has(key) {
		// A whole full frame is decoded where it is wanted.
		_, err := l.frame(d.p.ctx, r.Frame, pc.dst)
		return err
	}
	e, err := d.frame(key)
	if err != nil {
		return err
	}
	copy(pc.dst, e.buf[int64(r.Offset)*dr.BlockSize+pc.skip:])
	d.p.cache.put(e)
	return nil
}

func (d *Disk) frame(key frameKey) (*cachedFrame, error) {
	return d.p.cache.get(key, func(dst []byte) error {
		_, err := d.p.layers[key.layer].frame(d.p.ctx, key.frame, dst)
		return err
	})
}

// readAhead decodes, in the background, the frames that a sequential reader of small pieces comes to next.
func (d *Disk) readAhead(off, n int64) {
	d.mu.Lock()
	sequential := off == d.next
	d.next = off + n
	d.mu.Unlock()
	if !sequential || n >= 4*segment.FrameSize {
		return
	}
	at := off + n
	for i := segment.Find(d.runs, uint64(at/dr.BlockSize)); i < len(d.runs) && at < off+n+2*segment.FrameSize; {
		r := d.runs[i]
		if r.Zero || int64(r.End())*dr.BlockSize <= at {
			i++
			continue
		}
		at = max(at, int64(r.Block)*dr.BlockSize)
		cut := frameCut(r, uint64(at/dr.BlockSize))
		at = int64(cut.End()) * dr.BlockSize
		key := frameKey{cut.Layer, cut.Frame}
		if d.p.ctx.Err() != nil || d.p.cache.has(key) {
			continue
		}
		d.p.ahead.Go(func() {
			if e, err := d.frame(key); err == nil { // an error shows when the frame is read
				d.p.cache.put(e)
			}
		})
	}
}

// Extents describes the range from off on, n bytes or to the end of the disk: sorted, without gaps, Zero set where it
// is known to read as zeros.
func (d *Disk) Extents(off, n int64) []dr.Extent {
	if off < 0 || off >= d.size || n <= 0 {
		return nil
	}
	end := off + min(n, d.size-off)
	var out []dr.Extent
	add := func(to int64, zero bool) {
		to = min(to, end)
		if to <= off {
			return
		}
		if k := len(out); k > 0 && out[k-1].Zero == zero {
			out[k-1].Length += to - off
		} else {
			out = append(out, dr.Extent{Offset: off, Length: to - off, Zero: zero})
		}
		off = to
	}
	for i := segment.Find(d.runs, uint64(off/dr.BlockSize)); i < len(d.runs) && off < end; i++ {
		add(int64(d.runs[i].Block)*dr.BlockSize, true)
		add(int64(d.runs[i].End())*dr.BlockSize, d.runs[i].Zero)
	}
	add(end, true)
	return out
}

// readError classes an error of reading a range.
func readError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt(fmt.Errorf("object is truncated: %w", err))
	}
	if errors.Is(err, blob.ErrNotFound) {
		return corrupt(fmt.Errorf("object is missing: %w", err))
	}
	return unavailable(err)
}
