package hashmap

import (
	"container/list"
	"hash/crc32"
	"math/bits"
)

// maxPages bounds the pages in memory: 1 MiB, which describes 512 MiB of disk.
const maxPages = 256

// A page is the present state of a page of hashes: of the stage file where it has the page, else of the map.
type page struct {
	index int64
	data  [pageSize]byte
	dirty bool // to be written to the stage file
	place *list.Element
}

// cache holds the pages that were used last.
type cache struct {
	byIndex map[int64]*page
	used    list.List // of *page, most recent first
}

func (c *cache) init() {
	c.byIndex = map[int64]*page{}
	c.used.Init()
}

// page returns a page to read. The caller holds mu, and uses the page only while it does.
func (m *Map) page(index int64) (*page, error) {
	if p, ok := m.cache.byIndex[index]; ok {
		m.cache.used.MoveToFront(p.place)
		return p, nil
	}
	var p *page
	if m.cache.used.Len() >= maxPages {
		oldest := m.cache.used.Back()
		p = oldest.Value.(*page)
		if err := m.flush(p); err != nil {
			return nil, err
		}
		delete(m.cache.byIndex, p.index)
		m.cache.used.Remove(oldest)
	} else {
		p = &page{}
	}
	from := m.file
	if m.touched.has(index) {
		from = m.stage
	}
	if err := readFull(from, p.data[:], tableStart+index*pageSize); err != nil {
		return nil, err
	}
	p.index = index
	p.place = m.cache.used.PushFront(p)
	m.cache.byIndex[index] = p
	return p, nil
}

// change marks a page as changed. The caller holds mu.
func (m *Map) change(p *page) error {
	p.dirty = true
	if m.touched == nil {
		m.touched = newBitmap(pages(m.header.size))
		m.sums = make([]uint32, pages(m.header.size))
	}
	m.touched.set(p.index)
	if m.stage == nil {
		return m.openStage()
	}
	return nil
}

// flush writes a page to the stage file if it has changed. The caller holds mu.
func (m *Map) flush(p *page) error {
	if !p.dirty {
		return nil
	}
	if _, err := m.stage.WriteAt(p.data[:], tableStart+p.index*pageSize); err != nil {
		return err
	}
	m.sums[p.index] = crc32.Checksum(p.data[:], castagnoli)
	p.dirty = false
	return nil
}

// A bitmap is a set of small numbers; a nil one is empty.
type bitmap []uint64

func newBitmap(n int64) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) has(i int64) bool { return i/64 < int64(len(b)) && b[i/64]&(1<<(i%64)) != 0 }
func (b bitmap) set(i int64)      { b[i/64] |= 1 << (i % 64) }
func (b bitmap) any() bool        { return b.next(0) >= 0 }

// next is the first member that is at least i, or -1.
func (b bitmap) next(i int64) int64 {
	for w := i / 64; w < int64(len(b)); w++ {
		v := b[w]
		if w == i/64 {
			v &= ^uint64(0) << (i % 64)
		}
		if v != 0 {
			return w*64 + int64(bits.TrailingZeros64(v))
		}
	}
	return -1
}
