package segment

import (
	"slices"
	"sort"
)

// A Run is a sequence of blocks of one disk. A run of data starts at block Offset of frame Frame and goes on at the
// start of the next frame where one ends; all its frames but the last are full.
type Run struct {
	Block  uint64
	Count  uint32
	Frame  uint32 // counted over all frames of the segment, whichever part holds them
	Offset uint8
	Zero   bool
	Layer  uint16 // set by readers that lay segments over each other
}

// End is the first block after the run.
func (r Run) End() uint64 { return r.Block + uint64(r.Count) }

// Cut returns the part of the run from block lo up to hi, which must lie within it.
func (r Run) Cut(lo, hi uint64) Run {
	if !r.Zero {
		at := uint64(r.Frame)*FrameBlocks + uint64(r.Offset) + (lo - r.Block)
		r.Frame, r.Offset = uint32(at/FrameBlocks), uint8(at%FrameBlocks)
	}
	r.Block, r.Count = lo, uint32(hi-lo)
	return r
}

// follows reports whether s continues r, on disk and in the frames.
func (r Run) follows(s Run) bool {
	if s.Block != r.End() || r.Zero != s.Zero || r.Layer != s.Layer || uint64(r.Count)+uint64(s.Count) > 1<<32-1 {
		return false
	}
	return r.Zero || uint64(r.Frame)*FrameBlocks+uint64(r.Offset)+uint64(r.Count) == uint64(s.Frame)*FrameBlocks+uint64(s.Offset)
}

// Append adds a run after the others, joined to the last one where it continues it.
func Append(runs []Run, r Run) []Run {
	if r.Count == 0 {
		return runs
	}
	if n := len(runs); n > 0 && runs[n-1].follows(r) {
		runs[n-1].Count += r.Count
		return runs
	}
	return append(runs, r)
}

// Flatten lays sorted runs over each other, later ones over earlier ones. The result may share memory with a single layer.
func Flatten(layers [][]Run) []Run {
	switch len(layers) {
	case 0:
		return nil
	case 1:
		return layers[0]
	}
	half := len(layers) / 2
	return overlay(Flatten(layers[half:]), Flatten(layers[:half]))
}

func overlay(upper, lower []Run) []Run {
	if len(lower) == 0 {
		return upper
	}
	if len(upper) == 0 {
		return lower
	}
	out := make([]Run, 0, len(upper)+len(lower))
	l, from := 0, uint64(0) // from: blocks of the lower layer below it are dealt with
	below := func(until uint64) {
		for ; l < len(lower); l++ {
			lo, hi := max(lower[l].Block, from), min(lower[l].End(), until)
			if lo < hi {
				out = Append(out, lower[l].Cut(lo, hi))
			}
			if lower[l].End() > until {
				return
			}
		}
	}
	for _, u := range upper {
		below(u.Block)
		out = Append(out, u)
		from = u.End()
		for l < len(lower) && lower[l].End() <= from {
			l++
		}
	}
	below(1<<64 - 1)
	return out
}

// Clip drops what lies at or after block end. It may change runs.
func Clip(runs []Run, end uint64) []Run {
	n, _ := slices.BinarySearchFunc(runs, end, func(r Run, end uint64) int {
		if r.End() <= end {
			return -1
		}
		return 1
	})
	if n < len(runs) && runs[n].Block < end {
		last := runs[n].Cut(runs[n].Block, end)
		return append(slices.Clip(runs[:n]), last)
	}
	return runs[:n]
}

// Find returns the index of the first run that ends after block.
func Find(runs []Run, block uint64) int {
	return sort.Search(len(runs), func(i int) bool { return runs[i].End() > block })
}

// settle sorts runs that were written in any order; where they overlap, the later written one stays.
func settle(runs []Run) []Run {
	var layers [][]Run
	start := 0
	for i := 1; i <= len(runs); i++ {
		if i == len(runs) || runs[i].Block < runs[i-1].End() {
			layers = append(layers, runs[start:i:i])
			start = i
		}
	}
	return Flatten(layers)
}

// blocksOf returns the number of blocks of a disk of size bytes.
func blocksOf(size int64) uint64 { return uint64(size+BlockSize-1) / BlockSize }
