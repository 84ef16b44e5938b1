package hashmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/zeebo/blake3"

	"understudy/internal/dr"
)

var zeros [block]byte

// A hasher is the scratch space of one Diff.
type hasher struct {
	blake  *blake3.Hasher
	sum    [32]byte
	padded [block]byte
	hashes []uint64
}

func newHasher(key [32]byte) *hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return &hasher{blake: h}
}

// hash is what a map holds for a block. A short one counts as padded with zeros.
func (h *hasher) hash(p []byte) uint64 {
	if bytes.Equal(p, zeros[:len(p)]) {
		return 0
	}
	if len(p) < block {
		clear(h.padded[copy(h.padded[:], p):])
		p = h.padded[:]
	}
	h.blake.Reset()
	h.blake.Write(p)
	v := binary.LittleEndian.Uint64(h.blake.Sum(h.sum[:0]))
	if v == 0 {
		v = 1
	}
	return v
}

// Diff compares the bytes of the disk at off with the map, calls emit for each run of blocks that changed, ascending,
// runs of zeros apart from others, and collects the new hashes. blocks is a part of p. off must be a multiple of
// dr.BlockSize, and so must the length, except at the end of the disk. When emit fails nothing is collected.
func (m *Map) Diff(off int64, p []byte, emit func(off int64, blocks []byte, zero bool) error) error {
	if err := m.check("compare", off, int64(len(p))); err != nil || len(p) == 0 {
		return err
	}
	h := m.hashers.Get().(*hasher)
	defer m.hashers.Put(h)
	h.hashes = h.hashes[:0]
	for at := 0; at < len(p); at += block {
		h.hashes = append(h.hashes, h.hash(p[at:min(at+block, len(p))]))
	}
	first := off / block
	changed, err := m.compare(first, h.hashes)
	if err != nil {
		return err
	}
	for i := changed.next(0); i >= 0; {
		zero := h.hashes[i] == 0
		end := i + 1
		for end < int64(len(h.hashes)) && changed.has(end) && (h.hashes[end] == 0) == zero {
			end++
		}
		if err := emit(off+i*block, p[i*block:min(end*block, int64(len(p)))], zero); err != nil {
			return err
		}
		i = changed.next(end)
	}
	if !changed.any() {
		return nil
	}
	return m.collect(first, h.hashes)
}

// doubt takes a block that is about to be sent out of the map of an unfinished seed: whether the part with it got into
// the seed may never be known, and the hash of what an earlier part held must not hide that it changed. The caller
// holds mu, and syncs the map before the block is sent.
func (m *Map) doubt(p *page, at int64) error {
	p.put(at, 0)
	if m.touched.has(p.index) {
		p.dirty = true
	}
	_, err := m.file.WriteAt(p.data[at*hashSize:(at+1)*hashSize], tableStart+p.index*pageSize+at*hashSize)
	return err
}

// compare tells which of the hashes, from block first on, differ from the map's.
func (m *Map) compare(first int64, hashes []uint64) (bitmap, error) {
	changed := newBitmap(int64(len(hashes)))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return nil, m.failed
	}
	doubted := false
	for i := int64(0); i < int64(len(hashes)); {
		p, err := m.page((first + i) / hashesPerPage)
		if err != nil {
			return nil, m.fail("read", err)
		}
		for at := (first + i) % hashesPerPage; at < hashesPerPage && i < int64(len(hashes)); at, i = at+1, i+1 {
			old := p.get(at)
			if old == hashes[i] && (old != 0 || !m.unsure) {
				continue
			}
			changed.set(i)
			if old != 0 && m.seeding() {
				doubted = true
				if err := m.doubt(p, at); err != nil {
					return nil, m.fail("mark in", err)
				}
			}
		}
	}
	if doubted {
		if err := m.file.Sync(); err != nil {
			return nil, m.fail("mark in", err)
		}
	}
	return changed, nil
}

// collect takes new hashes, from block first on, into the pages that Stage will make durable.
func (m *Map) collect(first int64, hashes []uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	for i := int64(0); i < int64(len(hashes)); {
		p, err := m.page((first + i) / hashesPerPage)
		if err != nil {
			return m.fail("read", err)
		}
		changed := false
		for at := (first + i) % hashesPerPage; at < hashesPerPage && i < int64(len(hashes)); at, i = at+1, i+1 {
			if p.get(at) != hashes[i] {
				p.put(at, hashes[i])
				changed = true
			}
		}
		if changed {
			if err := m.change(p); err != nil {
				return m.fail("stage", err)
			}
		}
	}
	return nil
}

func (p *page) get(i int64) uint64    { return binary.LittleEndian.Uint64(p.data[i*hashSize:]) }
func (p *page) put(i int64, v uint64) { binary.LittleEndian.PutUint64(p.data[i*hashSize:], v) }

// DiffZero is Diff of a range that is known to be zeros: it calls emit for each run of blocks that were not, and
// collects that they are now. It costs what the map holds of the range, not the length of the range.
func (m *Map) DiffZero(off, n int64, emit func(off, n int64) error) error {
	if err := m.check("compare", off, n); err != nil || n == 0 {
		return err
	}
	first, last := off/block, blocks(off+n)
	z := zeroRun{end: off + n, emit: emit}
	for b := first; b < last; {
		index := b / hashesPerPage
		if next, err := m.nextPage(index); err != nil {
			return err
		} else if next > index {
			// Nothing but zeros, in the map, up to there.
			to := min(next*hashesPerPage, last)
			if m.unsure {
				if err := z.add(b, to); err != nil {
					return err
				}
			}
			b = to
			continue
		}
		to := min((index+1)*hashesPerPage, last)
		changed, err := m.zeroPage(index, b%hashesPerPage, to-index*hashesPerPage)
		if err != nil {
			return err
		}
		for i := changed.next(0); i >= 0; i = changed.next(i + 1) {
			if err := z.add(index*hashesPerPage+i, index*hashesPerPage+i+1); err != nil {
				return err
			}
		}
		b = to
	}
	return z.flush()
}

// zeroPage tells which hashes of a part of a page are not those of zeros, and makes them so.
func (m *Map) zeroPage(index, from, to int64) (bitmap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return nil, m.failed
	}
	p, err := m.page(index)
	if err != nil {
		return nil, m.fail("read", err)
	}
	found := newBitmap(hashesPerPage)
	changed := false
	for i := from; i < to; i++ {
		if old := p.get(i); old != 0 {
			p.put(i, 0)
			changed = true
			found.set(i)
		} else if m.unsure {
			found.set(i)
		}
	}
	if !changed {
		return found, nil
	}
	if m.seeding() {
		if _, err := m.file.WriteAt(p.data[from*hashSize:to*hashSize], tableStart+index*pageSize+from*hashSize); err != nil {
			return nil, m.fail("mark in", err)
		}
		if err := m.file.Sync(); err != nil {
			return nil, m.fail("mark in", err)
		}
	}
	if err := m.change(p); err != nil {
		return nil, m.fail("stage", err)
	}
	return found, nil
}

// nextPage is the first page from index on that may hold another hash than 0.
func (m *Map) nextPage(index int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return 0, m.failed
	}
	if m.touched.has(index) || m.cache.byIndex[index] != nil {
		return index, nil
	}
	data, err := m.file.nextData(tableStart + index*pageSize)
	if err != nil {
		return 0, m.fail("read", err)
	}
	next := (data - tableStart) / pageSize
	if data < 0 {
		next = pages(m.header.size)
	}
	if t := m.touched.next(index); t >= 0 {
		next = min(next, t)
	}
	return next, nil
}

// zeroRun joins blocks, given in ascending order, to runs.
type zeroRun struct {
	from, to int64 // blocks
	end      int64 // bytes: where the whole range ends, which may be inside a block
	emit     func(off, n int64) error
}

func (z *zeroRun) add(from, to int64) error {
	if from == z.to && z.to > z.from {
		z.to = to
		return nil
	}
	if err := z.flush(); err != nil {
		return err
	}
	z.from, z.to = from, to
	return nil
}

func (z *zeroRun) flush() error {
	if z.to == z.from {
		return nil
	}
	off := z.from * block
	return z.emit(off, min(z.to*block, z.end)-off)
}

// seeding reports whether the map is that of an unfinished seed.
func (m *Map) seeding() bool { return strings.HasPrefix(m.header.captureID, seedPrefix) }

func (m *Map) check(doing string, off, n int64) error {
	switch {
	case off < 0 || n < 0 || off > m.header.size || n > m.header.size-off:
		return dr.WithHint(fmt.Errorf("%s with hash map: %d bytes at %d of a disk of %d", doing, n, off, m.header.size), dr.KindInvalid, "")
	case off%block != 0 || n%block != 0 && off+n != m.header.size:
		return dr.WithHint(fmt.Errorf("%s with hash map: %d bytes at %d are not whole blocks", doing, n, off), dr.KindInvalid, "")
	}
	return nil
}
