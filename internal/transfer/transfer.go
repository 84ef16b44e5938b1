// Package transfer copies disks: in parallel chunks, without writing the zeros of a fresh target, writing only what
// differs to one that holds something, and going on where an earlier copy stopped. It knows no sites and no vaults.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"understudy/internal/dr"
)

// ChunkSize is the unit, in bytes, of work, of the journal and of digests.
const ChunkSize = 1 << 20

// window is how much of a disk, in bytes, is planned at a time: a sparse disk of many terabytes needs no long list.
const window = 1 << 30

// A Source is what is copied. Its methods may be called from many goroutines at once. A site.Disk is one.
type Source interface {
	io.ReaderAt
	Size() int64
	// Extents covers the range in order; Zero is set on what is known to read as zeros.
	Extents(ctx context.Context, off, n int64) ([]dr.Extent, error)
}

// A Target is what is written. Its methods may be called from many goroutines at once. A site.Disk is one. One that
// also has the Extents method of Source is not read where it is known to be zero.
type Target interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
	// Zero makes a range read as zeros.
	Zero(off, n int64) error
	// Flush returns when everything written is on stable storage.
	Flush() error
}

// A Job is one disk to copy.
type Job struct {
	Source Source
	Target Target // at least as large as the source; what lies beyond the source's end is left alone

	// Ranges are what to look at, sorted and not overlapping; nil is the whole source.
	Ranges []dr.Extent
	// Compare says that the target holds something: it is read, and only blocks that differ are written. Without it the
	// target must read as zeros.
	Compare bool
	// DryRun measures what would be done and writes nothing.
	DryRun bool
	// Same, if set, is asked with Compare for each block of dr.BlockSize bytes of the target (the last of a disk may be
	// shorter) whether the source holds the same at that offset: known answers spare reading the source.
	Same func(off int64, block []byte) (same, known bool)

	// Journal is a file that keeps the digest of each chunk that is on the target's stable storage; "" for none. With
	// it, a later copy goes on. It belongs to one target: remove it together with that. DryRun does not use it.
	Journal string
	// Label says what the journal is about. A journal of another label, size or ranges is begun anew, and the target
	// then is taken to hold something.
	Label string
	// Fixed says that the source is the same at every copy with this journal: what is in it is not read again. Otherwise
	// chunks are read, and those with another digest copied.
	Fixed bool

	Parallel int                     // chunks at a time; 4 when 0
	Progress func(done, total int64) // bytes; called from many goroutines; may be nil
}

// Stats are what a copy did, in bytes.
type Stats struct {
	Total   int64 `json:"total"`   // looked at
	Read    int64 `json:"read"`    // from the source
	Written int64 `json:"written"` // data to the target; ranges made zero are not written
	Differ  int64 `json:"differ"`  // what the target was found not to hold, zeros included
	// Sum is the digest of the whole source as it was copied, as Sum computes it. It is zero when Ranges are given or
	// a dry run did not read everything.
	Sum Digest `json:"sum,omitzero"`
}

// Add returns the sum of two copies, without a digest.
func (s Stats) Add(o Stats) Stats {
	return Stats{Total: s.Total + o.Total, Read: s.Read + o.Read, Written: s.Written + o.Written, Differ: s.Differ + o.Differ}
}

func (j Job) validate() error {
	switch {
	case j.Source == nil || j.Target == nil:
		return errors.New("copy without a source or a target")
	case j.Target.Size() < j.Source.Size():
		return dr.WithHint(fmt.Errorf("target of %d bytes is smaller than its source of %d", j.Target.Size(), j.Source.Size()),
			dr.KindInvalid, "choose a size that is not smaller than the source's")
	}
	end := int64(0)
	for _, e := range j.Ranges {
		if e.Offset < end || e.Length <= 0 || e.End() > j.Source.Size() {
			return fmt.Errorf("range at %d of %d bytes is out of order or outside of a source of %d bytes", e.Offset, e.Length, j.Source.Size())
		}
		end = e.End()
	}
	return nil
}

// Copy copies until the target holds what the source has in the ranges, on stable storage. When it fails or ctx ends,
// what was done stays, and is in the journal.
func Copy(ctx context.Context, j Job) (Stats, error) {
	if err := j.validate(); err != nil {
		return Stats{}, err
	}
	if j.Parallel <= 0 {
		j.Parallel = 4
	}
	c := &copier{Job: j, fresh: !j.Compare}
	c.total = j.Source.Size()
	if j.Ranges != nil {
		c.total = 0
		for _, e := range j.Ranges {
			c.total += e.Length
		}
	} else {
		c.sums = make([]Digest, chunks(j.Source.Size()))
	}
	if j.Journal != "" && !j.DryRun {
		var err error
		if c.journal, err = openJournal(j.Journal, identity(j)); err != nil {
			return Stats{}, fmt.Errorf("open journal %s: %w", j.Journal, err)
		}
		// A chunk that is in no record may have been written in part.
		if c.journal.resumed && !j.Fixed || c.journal.held {
			c.fresh = false
		}
	}
	err := c.run(ctx)
	if c.journal != nil {
		err = errors.Join(err, c.journal.close())
	}
	s := Stats{Total: c.total, Read: c.read.Load(), Written: c.written.Load(), Differ: c.differ.Load()}
	if err == nil && c.sums != nil && !c.unread.Load() {
		s.Sum = root(j.Source.Size(), c.sums)
	}
	return s, err
}

func chunks(size int64) int64 { return (size + ChunkSize - 1) / ChunkSize }

// ranges are what to look at between off and end.
func (j Job) ranges(off, end int64) []dr.Extent {
	if j.Ranges == nil {
		return []dr.Extent{{Offset: off, Length: end - off}}
	}
	i, _ := slices.BinarySearchFunc(j.Ranges, off, func(e dr.Extent, off int64) int {
		if e.End() <= off {
			return -1
		}
		return 1
	})
	return clip(j.Ranges[i:], off, end)
}

// clip returns the parts of sorted extents between off and end.
func clip(extents []dr.Extent, off, end int64) []dr.Extent {
	var out []dr.Extent
	for _, e := range extents {
		if e.Offset >= end {
			break
		}
		a, b := max(e.Offset, off), min(e.End(), end)
		if a < b {
			out = append(out, dr.Extent{Offset: a, Length: b - a, Zero: e.Zero})
		}
	}
	return out
}
