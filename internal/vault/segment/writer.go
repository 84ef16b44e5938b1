package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"understudy/internal/dr"

	"github.com/zeebo/blake3"
)

// A DiskSize names a disk that a segment covers.
type DiskSize struct {
	ID   dr.DiskID
	Size int64
}

// WriterOptions says what a Writer writes.
type WriterOptions struct {
	Header Header
	Key    Key
	Codec  *Codec
	Disks  []DiskSize // all disks of the group

	// Bulk says that a lot comes: frames get the faster coding unless dst is slow.
	Bulk bool
}

// A Writer streams one object. Write and Zero may be called from many goroutines; of two writes of the same block the
// later one counts. Memory is bounded: some frames per worker, and the index.
type Writer struct {
	dst    io.Writer
	codec  *Codec
	sealer *Sealer
	part   uint32
	bulk   bool
	disks  []*diskWriter // sorted

	headerLen int64
	header    Digest

	mu      sync.Mutex
	cur     *frameJob
	frames  uint32
	closed  bool
	jobs    chan *frameJob
	order   chan *frameJob
	workers sync.WaitGroup
	done    chan struct{} // the output goroutine has ended

	// Owned by the output goroutine until done.
	hash   *blake3.Hasher
	table  []uint32
	length int64
	waited time.Duration // for dst, lately
	taken  int64         // bytes that dst took meanwhile

	slow    atomic.Bool // dst is
	failed  atomic.Pointer[error]
	stored  atomic.Int64
	changed atomic.Int64
}

type diskWriter struct {
	DiskSize
	runs []Run
}

type frameJob struct {
	number uint64
	raw    *rawBuffer
	blocks int
	buf    *sealedBuffer
	sealed []byte
	coding Coding
	ready  chan struct{}
}

// NewWriter writes the header to dst and returns a Writer, which ends with Finish or Abort.
func NewWriter(dst io.Writer, o WriterOptions) (*Writer, error) {
	header, err := EncodeHeader(&o.Header)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		dst: dst, codec: o.Codec, part: o.Header.Part, bulk: o.Bulk,
		headerLen: int64(len(header)), header: blake3.Sum256(header),
		jobs: make(chan *frameJob, o.Codec.workers), order: make(chan *frameJob, 2*o.Codec.workers+2),
		done: make(chan struct{}), hash: blake3.New(),
	}
	w.sealer = NewSealer(o.Key, w.header, w.part)
	for _, d := range o.Disks {
		if d.Size < 0 || d.Size > maxDisk || d.ID.Machine == "" || d.ID.Disk == "" || len(d.ID.Machine) > 255 || len(d.ID.Disk) > 255 {
			return nil, dr.WithHint(fmt.Errorf("disk %q of %d bytes cannot be stored", d.ID, d.Size), dr.KindInvalid, "")
		}
		w.disks = append(w.disks, &diskWriter{DiskSize: d})
	}
	slices.SortFunc(w.disks, func(a, b *diskWriter) int { return a.ID.Compare(b.ID) })
	for i := 1; i < len(w.disks); i++ {
		if w.disks[i].ID == w.disks[i-1].ID {
			return nil, dr.WithHint(fmt.Errorf("disk %s is listed twice", w.disks[i].ID), dr.KindInvalid, "")
		}
	}
	if _, err := dst.Write(header); err != nil {
		return nil, fmt.Errorf("write header: %w", err)
	}
	w.stored.Store(w.headerLen)
	for range o.Codec.workers {
		w.workers.Add(1)
		go w.work()
	}
	go w.output()
	return w, nil
}

func (w *Writer) work() {
	defer w.workers.Done()
	for j := range w.jobs {
		j.buf = w.codec.sealed.Get().(*sealedBuffer)
		j.sealed, j.coding = w.codec.sealFrame(w.sealer, j.buf, j.raw[:j.blocks*BlockSize], j.number, w.hurry())
		w.codec.raw.Put(j.raw)
		close(j.ready)
	}
}

// slowStore is the rate, in bytes a second, below which a store and not the processor holds up a bulk of data: about what
// two processors give in the stronger coding.
const slowStore = 100 << 20

// hurry decides between the faster and the stronger coding. Frames that wait say that compression holds up the rest. In
// bulk, where compression, reading and hashing share the processors, the stronger one is right when dst is slow anyway.
func (w *Writer) hurry() bool {
	if w.bulk {
		return !w.slow.Load()
	}
	return len(w.jobs) > 0
}

// pace notes how long dst took for some bytes; the last dozen or so of writes count.
func (w *Writer) pace(took time.Duration, n int) {
	w.waited = w.waited*7/8 + took
	w.taken = w.taken*7/8 + int64(n)
	w.slow.Store(float64(w.taken) < slowStore*w.waited.Seconds())
}

func (w *Writer) output() {
	defer close(w.done)
	for j := range w.order {
		<-j.ready
		if w.err() == nil {
			w.hash.Write(j.sealed)
			began := time.Now()
			if _, err := w.dst.Write(j.sealed); err != nil {
				w.fail(fmt.Errorf("write frame %d: %w", j.number, err))
			}
			w.pace(time.Since(began), len(j.sealed))
			w.table = append(w.table, frameWord(len(j.sealed), j.blocks, j.coding))
			w.length += int64(len(j.sealed))
			w.stored.Add(int64(len(j.sealed)))
		}
		w.codec.sealed.Put(j.buf)
	}
}

func (w *Writer) err() error {
	if p := w.failed.Load(); p != nil {
		return *p
	}
	return nil
}

func (w *Writer) fail(err error) { w.failed.CompareAndSwap(nil, &err) }

// Stored is the number of bytes handed to the store so far.
func (w *Writer) Stored() int64 { return w.stored.Load() }

// Changed is the number of bytes of disk written so far, zeros included.
func (w *Writer) Changed() int64 { return w.changed.Load() }

var errClosed = errors.New("segment is finished")

func (w *Writer) disk(id dr.DiskID, off, n int64) (*diskWriter, error) {
	i, ok := slices.BinarySearchFunc(w.disks, id, func(d *diskWriter, id dr.DiskID) int { return d.ID.Compare(id) })
	if !ok {
		return nil, dr.WithHint(fmt.Errorf("disk %s is not part of this capture", id), dr.KindInvalid, "")
	}
	d := w.disks[i]
	if off < 0 || n < 0 || off > d.Size || n > d.Size-off || off%BlockSize != 0 || (n%BlockSize != 0 && off+n != d.Size) {
		return nil, dr.WithHint(fmt.Errorf("range %d+%d of disk %s (%d bytes) is not made of its blocks", off, n, id, d.Size), dr.KindInvalid, "")
	}
	return d, nil
}

var zeroBlock [BlockSize]byte

// Write adds the data of a disk from offset off. Offset and length are multiples of BlockSize, except that the last
// block of a disk may be short. Blocks of zeros become index entries. p is not retained.
func (w *Writer) Write(id dr.DiskID, off int64, p []byte) error {
	d, err := w.disk(id, off, int64(len(p)))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.changed.Add(int64(len(p)))
	block := uint64(off / BlockSize)
	for len(p) > 0 {
		if err := w.err(); err != nil {
			return err
		}
		if n := zeroPrefix(p); n > 0 {
			blocks := (n + BlockSize - 1) / BlockSize
			d.zero(block, uint64(blocks))
			block += uint64(blocks)
			p = p[n:]
			continue
		}
		if w.cur == nil {
			w.cur = &frameJob{number: uint64(w.frames), raw: w.codec.raw.Get().(*rawBuffer), ready: make(chan struct{})}
		}
		room := (FrameBlocks - w.cur.blocks) * BlockSize
		n := dataPrefix(p[:min(len(p), room)])
		blocks := (n + BlockSize - 1) / BlockSize
		at := w.cur.raw[w.cur.blocks*BlockSize:]
		copy(at, p[:n])
		clear(at[n : blocks*BlockSize])
		d.runs = Append(d.runs, Run{Block: block, Count: uint32(blocks), Frame: w.frames, Offset: uint8(w.cur.blocks)})
		w.cur.blocks += blocks
		block += uint64(blocks)
		p = p[n:]
		if w.cur.blocks == FrameBlocks {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// zeroPrefix is the length of the blocks of zeros that p starts with.
func zeroPrefix(p []byte) int {
	n := 0
	for n < len(p) {
		k := min(BlockSize, len(p)-n)
		if p[n] != 0 || !bytes.Equal(p[n:n+k], zeroBlock[:k]) {
			break
		}
		n += k
	}
	return n
}

// dataPrefix is the length of the blocks that are not zeros that p starts with.
func dataPrefix(p []byte) int {
	n := 0
	for n < len(p) {
		k := min(BlockSize, len(p)-n)
		if p[n] == 0 && bytes.Equal(p[n:n+k], zeroBlock[:k]) {
			break
		}
		n += k
	}
	return n
}

func (d *diskWriter) zero(block, n uint64) {
	for n > 0 {
		k := min(n, math.MaxUint32)
		d.runs = Append(d.runs, Run{Block: block, Count: uint32(k), Zero: true})
		block, n = block+k, n-k
	}
}

// Zero records that a range of a disk reads as zeros.
func (w *Writer) Zero(id dr.DiskID, off, n int64) error {
	d, err := w.disk(id, off, n)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.changed.Add(n)
	d.zero(uint64(off/BlockSize), uint64((n+BlockSize-1)/BlockSize))
	return w.err()
}

// flush hands the current frame to the workers. It blocks while they are behind.
func (w *Writer) flush() error {
	if w.frames == math.MaxUint32-1 {
		return errors.New("segment has too many frames")
	}
	j := w.cur
	w.cur = nil
	w.frames++
	w.order <- j
	w.jobs <- j
	return nil
}

// stop ends the goroutines.
func (w *Writer) stop() {
	if w.closed {
		return
	}
	w.closed = true
	close(w.jobs)
	close(w.order)
	w.workers.Wait()
	<-w.done
}

// Abort ends the writer without a trailer. What was written is no object.
func (w *Writer) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
}

// Finish says how an object ends.
type Finish struct {
	Description []byte       // of the machines; sealed
	Parts       []Part       // of a seed
	Index       *Index       // of a seed, over its parts; nil for the index of what was written here
	Before      func() error // called right before the trailer, after which the object is complete
	PartsStored int64        // size of the parts
}

// Result describes a finished object.
type Result struct {
	Trailer *Trailer
	Index   *Index // of what was written here
}

// Finish writes what follows the frames. The object is complete only when it returns no error.
func (w *Writer) Finish(f Finish) (Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return Result{}, errClosed
	}
	if w.cur != nil {
		if err := w.flush(); err != nil {
			return Result{}, err
		}
	}
	w.stop()
	if err := w.err(); err != nil {
		return Result{}, err
	}
	own := &Index{Parts: []PartFrames{{Part: w.part, Frames: w.table}}}
	for _, d := range w.disks {
		own.Disks = append(own.Disks, DiskRuns{ID: d.ID, Size: d.Size, Runs: settle(d.runs)})
	}
	index := own
	if f.Index != nil {
		index = f.Index
	}
	t := &Trailer{HeaderLen: w.headerLen, Header: w.header, FramesLen: w.length, Frames: int64(len(w.table))}
	w.hash.Sum(t.FrameData[:0])
	t.Changed, t.Zero = index.Changed()
	parts := EncodeParts(f.Parts)
	sealedIndex := w.codec.sealSection(w.sealer, index.Encode(), nonceIndex)
	desc := w.codec.sealSection(w.sealer, f.Description, nonceDesc)
	t.IndexLen, t.Index = int64(len(sealedIndex)), blake3.Sum256(sealedIndex)
	t.PartsLen, t.Parts = int64(len(parts)), blake3.Sum256(parts)
	t.DescLen, t.Desc = int64(len(desc)), blake3.Sum256(desc)
	t.Size = t.HeaderLen + t.FramesLen + t.IndexLen + t.PartsLen + t.DescLen + TrailerSize
	t.Stored = t.Size + f.PartsStored
	for _, section := range [][]byte{sealedIndex, parts, desc} {
		if _, err := w.dst.Write(section); err != nil {
			return Result{}, fmt.Errorf("write index: %w", err)
		}
	}
	end := t.Encode()
	if f.Before != nil {
		if err := f.Before(); err != nil {
			return Result{}, err
		}
	}
	if _, err := w.dst.Write(end); err != nil {
		return Result{}, fmt.Errorf("write trailer: %w", err)
	}
	w.stored.Store(t.Size)
	return Result{Trailer: t, Index: own}, nil
}
