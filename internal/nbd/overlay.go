package nbd

import (
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"understudy/internal/dr"
)

const (
	overlayBlock = dr.BlockSize
	// pageBlocks is how many blocks one page of the overlay's map describes: 64 MiB of disk.
	pageBlocks = 16384
)

// blockState says where a block of an overlay is.
type blockState uint8

const (
	inBase blockState = iota
	inFile
	isZero
)

// mapPage holds the states of pageBlocks blocks, two bits each.
type mapPage [pageBlocks / 4]byte

func (p *mapPage) get(i int64) blockState { return blockState(p[i/4] >> (i % 4 * 2) & 3) }

func (p *mapPage) set(i int64, s blockState) {
	shift := i % 4 * 2
	p[i/4] = p[i/4]&^(3<<shift) | byte(s)<<shift
}

// An Overlay is a writable Device over a base that is not written to. What is written goes to a sparse file; which
// blocks are in it is known in memory only, so that an overlay ends with its process, and Flush, which could promise
// nothing beyond that, does nothing. Memory is at most 4 KiB per 64 MiB of disk that was written to.
type Overlay struct {
	base Device
	size int64
	file *os.File

	mu    sync.RWMutex
	pages []*mapPage // nil: all in the base; shared zeroPage: all zero
	zeros *mapPage
	used  int64 // blocks in the file

	// cow is held while a block comes into the file by a write to a part of it, so that two such writes both last.
	cow sync.Mutex
}

// NewOverlay returns an overlay of base that keeps what is written in a new file at path; it overwrites one that is
// there. The base must not change and stays the caller's.
func NewOverlay(base Device, path string) (*Overlay, error) {
	size := base.Size()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create overlay: %w", err)
	}
	// Whole blocks, so that the last one can be written like the others.
	if err := f.Truncate((size + overlayBlock - 1) / overlayBlock * overlayBlock); err != nil {
		f.Close()
		return nil, fmt.Errorf("create overlay: %w", err)
	}
	o := &Overlay{base: base, size: size, file: f, zeros: new(mapPage)}
	for i := range int64(pageBlocks) {
		o.zeros.set(i, isZero)
	}
	const pageLen = pageBlocks * overlayBlock
	o.pages = make([]*mapPage, (size+pageLen-1)/pageLen)
	return o, nil
}

// Close closes the file and leaves it where it is; nobody may use the overlay any more.
func (o *Overlay) Close() error { return o.file.Close() }

// Size implements Device.
func (o *Overlay) Size() int64 { return o.size }

// Used is how many bytes of the file hold data.
func (o *Overlay) Used() int64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.used * overlayBlock
}

// FastZero says that Zero writes no more than the two ends of a range.
func (o *Overlay) FastZero() bool { return true }

// Flush implements Writable.
func (o *Overlay) Flush() error { return nil }

// run returns the state of the block at off and how far, up to n bytes, the same state goes. The caller holds mu.
func (o *Overlay) run(off, n int64) (blockState, int64) {
	block, last := off/overlayBlock, (off+n-1)/overlayBlock
	state := o.state(block)
	next := block + 1
	for next <= last {
		page := o.pages[next/pageBlocks]
		if page == nil || page == o.zeros {
			if page == nil && state != inBase || page == o.zeros && state != isZero {
				break
			}
			next = (next/pageBlocks + 1) * pageBlocks
			continue
		}
		if page.get(next%pageBlocks) != state {
			break
		}
		next++
	}
	return state, min(next*overlayBlock-off, n)
}

func (o *Overlay) state(block int64) blockState {
	if page := o.pages[block/pageBlocks]; page != nil {
		return page.get(block % pageBlocks)
	}
	return inBase
}

// mark sets the state of whole blocks [from, to).
func (o *Overlay) mark(from, to int64, state blockState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for from < to {
		i := from / pageBlocks
		end := min(to, (i+1)*pageBlocks)
		page := o.pages[i]
		// The last page of a disk may be whole before its blocks are all there.
		whole := from%pageBlocks == 0 && end-from == pageBlocks
		switch {
		case page == o.zeros && state == isZero:
			from = end
			continue
		case whole && state == isZero && page == nil:
			o.pages[i] = o.zeros
			from = end
			continue
		case page == nil:
			page = new(mapPage)
			o.pages[i] = page
		case page == o.zeros:
			page = new(mapPage)
			*page = *o.zeros
			o.pages[i] = page
		}
		for ; from < end; from++ {
			was := page.get(from % pageBlocks)
			if was == state {
				continue
			}
			if was == inFile {
				o.used--
			}
			if state == inFile {
				o.used++
			}
			page.set(from%pageBlocks, state)
		}
		if whole && state == isZero {
			o.pages[i] = o.zeros
		}
	}
}

// ReadAt implements Device.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read overlay at %d: %w", off, syscall.EINVAL)
	}
	if off >= o.size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > o.size-off {
		p, eof = p[:o.size-off], io.EOF
	}
	done := 0
	for done < len(p) {
		o.mu.RLock()
		state, n := o.run(off, int64(len(p)-done))
		o.mu.RUnlock()
		part := p[done : done+int(n)]
		var got int
		var err error
		switch state {
		case isZero:
			clear(part)
			got = len(part)
		case inFile:
			got, err = o.file.ReadAt(part, off)
		default:
			got, err = o.base.ReadAt(part, off)
		}
		done += got
		off += n
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, fmt.Errorf("read overlay: %w", err)
		}
	}
	return done, eof
}

// WriteAt implements Writable.
func (o *Overlay) WriteAt(p []byte, off int64) (int, error) {
	if err := o.check(off, int64(len(p))); err != nil {
		return 0, fmt.Errorf("write overlay: %w", err)
	}
	done := 0
	for done < len(p) {
		n, err := o.writeSome(p[done:], off)
		if err != nil {
			return done, fmt.Errorf("write overlay: %w", err)
		}
		done += n
		off += int64(n)
	}
	return done, nil
}

// writeSome writes whole blocks from the beginning of p, or the part of a block there.
func (o *Overlay) writeSome(p []byte, off int64) (int, error) {
	head := off % overlayBlock
	whole := int64(len(p)) / overlayBlock * overlayBlock
	if head == 0 && off+int64(len(p)) == o.size {
		whole = int64(len(p)) // a short last block is a whole one
	}
	if head == 0 && whole > 0 {
		if _, err := o.file.WriteAt(p[:whole], off); err != nil {
			return 0, err
		}
		o.mark(off/overlayBlock, (off+whole+overlayBlock-1)/overlayBlock, inFile)
		return int(whole), nil
	}
	p = p[:min(int64(len(p)), overlayBlock-head)]
	return len(p), o.writePart(p, off)
}

// writePart writes a part of one block, bringing the rest of it into the file first.
func (o *Overlay) writePart(p []byte, off int64) error {
	o.cow.Lock()
	defer o.cow.Unlock()
	block := off / overlayBlock
	o.mu.RLock()
	state := o.state(block)
	o.mu.RUnlock()
	if state != inFile {
		var b [overlayBlock]byte
		if state == inBase {
			start := block * overlayBlock
			n := min(overlayBlock, o.size-start)
			if got, err := o.base.ReadAt(b[:n], start); int64(got) < n {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("read base: %w", err)
			}
		}
		copy(b[off%overlayBlock:], p)
		if _, err := o.file.WriteAt(b[:], block*overlayBlock); err != nil {
			return err
		}
		o.mark(block, block+1, inFile)
		return nil
	}
	_, err := o.file.WriteAt(p, off)
	return err
}

// Zero implements Writable.
func (o *Overlay) Zero(off, n int64) error {
	if err := o.check(off, n); err != nil {
		return fmt.Errorf("zero overlay: %w", err)
	}
	end := off + n
	from, to := (off+overlayBlock-1)/overlayBlock, end/overlayBlock
	if end == o.size {
		to = (end + overlayBlock - 1) / overlayBlock
	}
	if from >= to {
		// Within one block, or the ends of two.
		_, err := o.WriteAt(make([]byte, n), off)
		return err
	}
	if head := from*overlayBlock - off; head > 0 {
		if err := o.writePart(make([]byte, head), off); err != nil {
			return fmt.Errorf("zero overlay: %w", err)
		}
	}
	if tail := end - to*overlayBlock; tail > 0 {
		if err := o.writePart(make([]byte, tail), end-tail); err != nil {
			return fmt.Errorf("zero overlay: %w", err)
		}
	}
	// A part of a block that is being written is not given up half way.
	o.cow.Lock()
	defer o.cow.Unlock()
	o.mark(from, to, isZero)
	if err := punch(o.file, from*overlayBlock, (to-from)*overlayBlock); err != nil {
		return fmt.Errorf("zero overlay: free space: %w", err)
	}
	return nil
}

// Extents returns the extents of a range: those of the base where nothing was written.
func (o *Overlay) Extents(off, n int64) []dr.Extent {
	var out []dr.Extent
	add := func(e dr.Extent) {
		if last := len(out) - 1; last >= 0 && out[last].Zero == e.Zero {
			out[last].Length += e.Length
			return
		}
		out = append(out, e)
	}
	base, known := o.base.(extenter)
	for n = min(n, o.size-off); n > 0; {
		o.mu.RLock()
		state, l := o.run(off, n)
		o.mu.RUnlock()
		if state == inBase && known {
			for _, e := range base.Extents(off, l) {
				add(e)
			}
		} else {
			add(dr.Extent{Offset: off, Length: l, Zero: state == isZero})
		}
		off, n = off+l, n-l
	}
	return out
}

func (o *Overlay) check(off, n int64) error {
	if off < 0 || n < 0 || off > o.size || n > o.size-off {
		return fmt.Errorf("%d bytes at %d are beyond the disk's %d: %w", n, off, o.size, syscall.ENOSPC)
	}
	return nil
}
