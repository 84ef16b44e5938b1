package segment

import (
	"encoding/binary"
	"slices"
	"sort"

	"understudy/internal/dr"
)

// An Index says where the blocks of a segment are.
type Index struct {
	Parts []PartFrames // the frames of each object, in the order in which runs count them
	Disks []DiskRuns   // sorted by disk
}

// PartFrames describes the frames of one object: its own (Part is the number in the segment's header) or a part's.
type PartFrames struct {
	Part   uint32
	Frames []uint32 // bits 0-23 stored length, 24-29 number of blocks less 1, 30 Snappy, 31 zstd
}

// DiskRuns holds what a segment knows of a disk. All disks of the group are listed, changed or not: blocks beyond Size,
// and all blocks of a disk that is not listed, are gone.
type DiskRuns struct {
	ID   dr.DiskID
	Size int64
	Runs []Run
}

func frameWord(stored, blocks int, coding Coding) uint32 {
	w := uint32(stored) | uint32(blocks-1)<<24
	switch coding {
	case Zstd:
		w |= 1 << 31
	case Snappy:
		w |= 1 << 30
	}
	return w
}

func frameOf(w uint32) (stored, blocks int, coding Coding) {
	switch w >> 30 {
	case 2:
		coding = Zstd
	case 1:
		coding = Snappy
	}
	return int(w & (1<<24 - 1)), int(w>>24&63) + 1, coding
}

// Disk returns the runs of a disk, or nil.
func (x *Index) Disk(id dr.DiskID) *DiskRuns {
	i, ok := slices.BinarySearchFunc(x.Disks, id, func(d DiskRuns, id dr.DiskID) int { return d.ID.Compare(id) })
	if !ok {
		return nil
	}
	return &x.Disks[i]
}

// Frames counts the frames of all parts.
func (x *Index) Frames() int {
	n := 0
	for _, p := range x.Parts {
		n += len(p.Frames)
	}
	return n
}

// Changed returns the bytes of disk that the index covers and, of these, those that are zero.
func (x *Index) Changed() (all, zero int64) {
	for _, d := range x.Disks {
		for _, r := range d.Runs {
			n := min(int64(r.End())*BlockSize, d.Size) - int64(r.Block)*BlockSize
			all += n
			if r.Zero {
				zero += n
			}
		}
	}
	return all, zero
}

// Encode returns the index's plain bytes.
func (x *Index) Encode() []byte {
	b := make([]byte, 0, 4096)
	b = binary.AppendUvarint(b, uint64(len(x.Parts)))
	for _, p := range x.Parts {
		b = binary.AppendUvarint(b, uint64(p.Part))
		b = binary.AppendUvarint(b, uint64(len(p.Frames)))
		for _, w := range p.Frames {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(x.Disks)))
	for _, d := range x.Disks {
		b = appendName(appendName(b, d.ID.Machine), d.ID.Disk)
		b = binary.AppendUvarint(b, uint64(d.Size))
		b = binary.AppendUvarint(b, uint64(len(d.Runs)))
		var end uint64
		var frame uint32
		for _, r := range d.Runs {
			b = binary.AppendUvarint(b, r.Block-end)
			end = r.End()
			if r.Zero {
				b = binary.AppendUvarint(b, uint64(r.Count)<<1|1)
				continue
			}
			b = binary.AppendUvarint(b, uint64(r.Count)<<1)
			b = binary.AppendVarint(b, int64(r.Frame)-int64(frame))
			b = append(b, r.Offset)
			frame = r.Frame
		}
	}
	return b
}

func appendName(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cursor reads an index; the first error sticks.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = corrupt(format, args...)
		c.b = nil
	}
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail("index: truncated number")
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail("index: truncated number")
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail("index: truncated")
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

// count reads the number of things of at least size bytes each that follow.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if n > uint64(len(c.b)/size) {
		c.fail("index: %d entries do not fit", n)
		return 0
	}
	return int(n)
}

func (c *cursor) name() string {
	n := c.uvarint()
	if n == 0 || n > 255 {
		c.fail("index: name of %d bytes", n)
		return ""
	}
	return string(c.take(n))
}

// DecodeIndex decodes an index and checks all of it: order, bounds, and that every run lies in frames that exist.
func DecodeIndex(b []byte) (*Index, error) {
	c := &cursor{b: b}
	x := new(Index)
	var blocks []uint8 // per frame; 4 bytes of input each
	var total uint64
	for range c.count(2) {
		p := PartFrames{Part: uint32(min(c.uvarint(), 1<<32-1))}
		n := c.count(4)
		words := c.take(uint64(n) * 4)
		if c.err != nil {
			return nil, c.err
		}
		p.Frames = make([]uint32, n)
		for i := range p.Frames {
			w := binary.LittleEndian.Uint32(words[4*i:])
			stored, k, _ := frameOf(w)
			if stored <= sealOverhead || stored > FrameSize+sealOverhead || w>>30 == 3 {
				return nil, corrupt("index: frame of %d bytes", stored)
			}
			p.Frames[i] = w
			blocks = append(blocks, uint8(k))
			total += uint64(k)
		}
		x.Parts = append(x.Parts, p)
	}
	if len(blocks) > 1<<32-2 {
		return nil, corrupt("index: too many frames")
	}
	for range c.count(6) {
		d := DiskRuns{ID: dr.DiskID{Machine: c.name(), Disk: c.name()}}
		size := c.uvarint()
		if size > maxDisk {
			c.fail("index: disk of %d bytes", size)
		}
		d.Size = int64(size)
		if n := len(x.Disks); n > 0 && x.Disks[n-1].ID.Compare(d.ID) >= 0 {
			c.fail("index: disks out of order")
		}
		n := c.count(2)
		if c.err != nil {
			return nil, c.err
		}
		d.Runs = make([]Run, 0, n)
		var end uint64
		var frame uint32
		for range n {
			gap, word := c.uvarint(), c.uvarint()
			r := Run{Zero: word&1 == 1, Count: uint32(word >> 1)}
			if word>>1 == 0 || word>>1 > 1<<32-1 || gap > maxDisk {
				c.fail("index: run out of range")
				break
			}
			r.Block = end + gap
			end = r.End()
			if end > blocksOf(d.Size) {
				c.fail("index: run beyond the end of disk %s", d.ID)
				break
			}
			if !r.Zero {
				at := int64(frame) + c.varint()
				o := c.take(1)
				if c.err != nil {
					break
				}
				if at < 0 || at >= int64(len(blocks)) || uint64(r.Count) > total {
					c.fail("index: run in no frame")
					break
				}
				total -= uint64(r.Count)
				r.Frame, r.Offset = uint32(at), o[0]
				frame = r.Frame
				if !fits(r, blocks) {
					c.fail("index: run beyond its frames")
					break
				}
			}
			d.Runs = append(d.Runs, r)
		}
		if c.err != nil {
			return nil, c.err
		}
		x.Disks = append(x.Disks, d)
	}
	if c.err == nil && len(c.b) != 0 {
		c.fail("index: %d bytes too many", len(c.b))
	}
	if c.err != nil {
		return nil, c.err
	}
	return x, nil
}

// fits reports whether a run lies within its frames, of which all but the last must be full.
func fits(r Run, blocks []uint8) bool {
	if r.Offset >= FrameBlocks {
		return false
	}
	need := uint64(r.Offset) + uint64(r.Count)
	for f := uint64(r.Frame); f < uint64(len(blocks)); f++ {
		if need <= uint64(blocks[f]) {
			return true
		}
		if blocks[f] != FrameBlocks {
			return false
		}
		need -= FrameBlocks
	}
	return false
}

// A Locator finds frames in the objects of a segment.
type Locator struct {
	parts   []PartFrames
	first   []uint32  // first frame of each part, as runs count
	offsets [][]int64 // of each frame in its part's frames
}

// Locator prepares finding frames.
func (x *Index) Locator() *Locator {
	l := &Locator{parts: x.Parts}
	var n uint32
	for _, p := range x.Parts {
		l.first = append(l.first, n)
		n += uint32(len(p.Frames))
		offsets := make([]int64, len(p.Frames))
		var at int64
		for i, w := range p.Frames {
			offsets[i] = at
			stored, _, _ := frameOf(w)
			at += int64(stored)
		}
		l.offsets = append(l.offsets, offsets)
	}
	return l
}

// Find returns the index into Index.Parts of the object that holds frame n, and the frame, whose Offset counts from
// the object's first frame.
func (l *Locator) Find(n uint32) (part int, f Frame) {
	part = sort.Search(len(l.first), func(i int) bool { return l.first[i] > n }) - 1
	// Parts without frames share their first number with the next part; Search has then skipped to the last of them.
	i := n - l.first[part]
	stored, blocks, coding := frameOf(l.parts[part].Frames[i])
	return part, Frame{Number: uint64(i), Offset: l.offsets[part][i], Stored: stored, Blocks: blocks, Coding: coding}
}

// Length is the number of bytes of all frames of a part.
func (p PartFrames) Length() (n int64) {
	for _, w := range p.Frames {
		stored, _, _ := frameOf(w)
		n += int64(stored)
	}
	return n
}

// A Part is an entry of the table of a seed's parts.
type Part struct {
	Number    uint32
	HeaderLen uint32 // where the part's frames start
	Size      int64
	Header    Digest // of the part's header
	Digest    Digest // of the part's trailer
}

const partSize = 80

// EncodeParts returns the table's bytes.
func EncodeParts(parts []Part) []byte {
	b := make([]byte, 0, len(parts)*partSize)
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, p.Number)
		b = binary.LittleEndian.AppendUint32(b, p.HeaderLen)
		b = binary.LittleEndian.AppendUint64(b, uint64(p.Size))
		b = append(append(b, p.Header[:]...), p.Digest[:]...)
	}
	return b
}

// DecodeParts decodes a table of parts.
func DecodeParts(b []byte) ([]Part, error) {
	if len(b)%partSize != 0 {
		return nil, corrupt("table of parts has %d bytes", len(b))
	}
	parts := make([]Part, 0, len(b)/partSize)
	for ; len(b) > 0; b = b[partSize:] {
		p := Part{
			Number:    binary.LittleEndian.Uint32(b),
			HeaderLen: binary.LittleEndian.Uint32(b[4:]),
			Size:      int64(binary.LittleEndian.Uint64(b[8:])),
			Header:    Digest(b[16:48]),
			Digest:    Digest(b[48:80]),
		}
		if n := len(parts); p.Size < minObject || int64(p.HeaderLen) > p.Size || (n > 0 && parts[n-1].Number >= p.Number) {
			return nil, corrupt("table of parts contradicts itself")
		}
		parts = append(parts, p)
	}
	return parts, nil
}
