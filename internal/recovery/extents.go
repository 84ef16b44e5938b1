package recovery

import (
	"cmp"
	"context"
	"slices"

	"understudy/internal/dr"
	"understudy/internal/transfer"
	"understudy/internal/vault"
)

// sampleBytes is how much of a disk, in bytes, is looked at to see whether it is as it was left.
const sampleBytes = 32 << 20

// pointDisk is a disk of a recovery point as a source of a copy.
type pointDisk struct{ *vault.Disk }

// Extents implements transfer.Source.
func (d pointDisk) Extents(_ context.Context, off, n int64) ([]dr.Extent, error) {
	return d.Disk.Extents(off, n), nil
}

var _ transfer.Source = pointDisk{}

// merge is the union of two lists of extents, each ascending and apart.
func merge(a, b []dr.Extent) []dr.Extent {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y dr.Extent) int { return cmp.Compare(x.Offset, y.Offset) })
	out := make([]dr.Extent, 0, len(all))
	for _, e := range all {
		if n := len(out); n > 0 && e.Offset <= out[n-1].End() {
			out[n-1].Length = max(out[n-1].End(), e.End()) - out[n-1].Offset
			continue
		}
		out = append(out, dr.Extent{Offset: e.Offset, Length: e.Length})
	}
	return out
}

// within is what of ascending extents lies before size.
func within(list []dr.Extent, size int64) []dr.Extent {
	out := make([]dr.Extent, 0, len(list))
	for _, e := range list {
		if e.Offset < size && e.Length > 0 {
			e.Length = min(e.Length, size-e.Offset)
			out = append(out, e)
		}
	}
	return out
}

// outside is what of a disk no extent covers. Extents ascend and are apart.
func outside(list []dr.Extent, size int64) []dr.Extent {
	out := []dr.Extent{}
	at := int64(0)
	for _, e := range list {
		if e.Offset > at {
			out = append(out, dr.Extent{Offset: at, Length: e.Offset - at})
		}
		at = max(at, e.End())
	}
	if at < size {
		out = append(out, dr.Extent{Offset: at, Length: size - at})
	}
	return out
}

// sample takes pieces of a megabyte of extents, evenly spread, about as many bytes in all as asked for.
func sample(list []dr.Extent, bytes int64) []dr.Extent {
	const piece = transfer.ChunkSize
	var pieces []dr.Extent
	total := int64(0)
	for _, e := range list {
		total += e.Length
	}
	if total <= bytes {
		return list
	}
	step := max(1, total/bytes)
	n := int64(0)
	for _, e := range list {
		for off := e.Offset; off < e.End(); off += piece {
			if n%step == 0 {
				pieces = append(pieces, dr.Extent{Offset: off, Length: min(piece, e.End()-off)})
			}
			n++
		}
	}
	return pieces
}
