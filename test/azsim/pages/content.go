package pages

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// PageSize is the granularity of page blobs, in bytes.
const PageSize = 512

const (
	chunkSize     = 64 << 10
	pagesPerChunk = chunkSize / PageSize
)

// A Range is bytes of a blob. Clear says that they were cleared, and read as zeros.
type Range struct {
	Offset, Length int64
	Clear          bool
}

// End is the first byte after the range.
func (r Range) End() int64 { return r.Offset + r.Length }

// A chunk is a piece of a content. Only the content that owns it changes it; others copy it first.
type chunk struct {
	owner *int
	data  []byte                // nil: all zeros
	wrote [pagesPerChunk]uint64 // the write that a page was last written or cleared by; 0 for none
	set   [pagesPerChunk]bool   // the page holds data
}

// content is sparse bytes that know when each page was written. A snapshot of it costs nothing until either changes.
type content struct {
	mu     sync.RWMutex
	size   int64
	owner  *int // of the chunks that may be changed in place
	family *int // the same for contents that are snapshots of one another
	chunks map[int64]*chunk
	writes uint64
}

func newContent(size int64) *content {
	return &content{size: size, owner: new(int), family: new(int), chunks: map[int64]*chunk{}}
}

// snapshot is the content as it is now. Both know which pages change from here.
func (c *content) snapshot() *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner = new(int)
	return &content{size: c.size, owner: new(int), family: c.family, chunks: maps.Clone(c.chunks), writes: c.writes}
}

// own returns a chunk that may be changed.
func (c *content) own(n int64) *chunk {
	old := c.chunks[n]
	switch {
	case old == nil:
		old = &chunk{owner: c.owner}
	case old.owner != c.owner:
		mine := *old
		mine.owner, mine.data = c.owner, slices.Clone(old.data)
		old = &mine
	}
	c.chunks[n] = old
	return old
}

// each calls fn for the part of [off, off+n) in each chunk.
func each(off, n int64, fn func(index, from, to, at int64)) {
	for at := int64(0); at < n; {
		index, from := (off+at)/chunkSize, (off+at)%chunkSize
		to := min(chunkSize, from+n-at)
		fn(index, from, to, at)
		at += to - from
	}
}

func (c *content) readAt(p []byte, off int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	each(off, int64(len(p)), func(index, from, to, at int64) {
		into := p[at : at+to-from]
		if k := c.chunks[index]; k != nil && k.data != nil {
			copy(into, k.data[from:to])
			return
		}
		clear(into)
	})
}

// writeAt writes whole or partial pages: a page that is touched holds data from now on.
func (c *content) writeAt(p []byte, off int64) {
	c.change(off, int64(len(p)), true, func(k *chunk, from, to, at int64) {
		if k.data == nil {
			k.data = make([]byte, chunkSize)
		}
		copy(k.data[from:to], p[at:])
	})
}

// clear makes whole pages read as zeros.
func (c *content) clear(off, n int64) {
	c.change(off, n, false, func(k *chunk, from, to, _ int64) {
		if from == 0 && to == chunkSize {
			k.data = nil
		} else if k.data != nil {
			clear(k.data[from:to])
		}
	})
}

func (c *content) change(off, n int64, set bool, fn func(k *chunk, from, to, at int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	each(off, n, func(index, from, to, at int64) {
		k := c.own(index)
		fn(k, from, to, at)
		for p := from / PageSize; p < (to+PageSize-1)/PageSize; p++ {
			k.wrote[p], k.set[p] = c.writes, set
		}
	})
}

// resize cuts or grows the content; what is grown reads as zeros.
func (c *content) resize(size int64) {
	if size < c.size {
		c.clear(size, c.size-size)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
}

// ranges lists the pages in [off, off+n) that hold data.
func (c *content) ranges(off, n int64) []Range { return c.list(off, n, 0, false) }

// since lists the pages in [off, off+n) that were written or cleared after old was taken.
func (c *content) since(old *content, off, n int64) []Range { return c.list(off, n, old.writes, true) }

func (c *content) list(off, n int64, after uint64, cleared bool) []Range {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n = min(n, c.size-off)
	var indices []int64
	for index := range c.chunks {
		if (index+1)*chunkSize > off && index*chunkSize < off+n {
			indices = append(indices, index)
		}
	}
	slices.Sort(indices)
	var out []Range
	for _, index := range indices {
		k := c.chunks[index]
		for p := range int64(pagesPerChunk) {
			at := index*chunkSize + p*PageSize
			if at < off/PageSize*PageSize || at >= off+n || k.wrote[p] <= after || (!k.set[p] && !cleared) {
				continue
			}
			if l := len(out) - 1; l >= 0 && out[l].End() == at && out[l].Clear == !k.set[p] {
				out[l].Length += PageSize
				continue
			}
			out = append(out, Range{at, PageSize, !k.set[p]})
		}
	}
	return out
}

// diff lists what differs between two contents of one family, or of two families by what they hold.
func diff(older, newer *content) []Range {
	if older.family == newer.family {
		return newer.since(older, 0, newer.size)
	}
	out := newer.ranges(0, newer.size)
	have := map[int64]bool{}
	for _, r := range out {
		for at := r.Offset; at < r.End(); at += PageSize {
			have[at] = true
		}
	}
	for _, r := range older.ranges(0, min(older.size, newer.size)) {
		for at := r.Offset; at < r.End(); at += PageSize {
			if !have[at] {
				out = append(out, Range{at, PageSize, true})
			}
		}
	}
	slices.SortFunc(out, func(a, b Range) int { return cmp.Compare(a.Offset, b.Offset) })
	return out
}
