package transfer

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// A Digest is a BLAKE3 digest.
type Digest [32]byte

// String is the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("digest of %d characters", len(b))
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// digest is of the chunk's pieces in the buffer, as the source has them.
func (w chunk) digest(b *buffer) Digest {
	if len(w.pieces) == 1 {
		return blake3.Sum256(w.part(w.pieces[0], &b.source))
	}
	h := blake3.New()
	for _, p := range w.pieces {
		h.Write(w.part(p, &b.source))
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

var noughts [ChunkSize]byte

var wholeZero = Digest(blake3.Sum256(noughts[:]))

func zeroDigest(n int64) Digest {
	if n == ChunkSize {
		return wholeZero
	}
	return blake3.Sum256(noughts[:n])
}

// root is the digest of a disk of chunks of these digests.
func root(size int64, sums []Digest) Digest {
	h := blake3.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
	for i := range sums {
		h.Write(sums[i][:])
	}
	var d Digest
	h.Sum(d[:0])
	return d
}

// Sum reads the first size bytes of a disk and returns their digest; zeros that the disk knows of are not read.
// Parallel is the number of chunks at a time, 4 when 0; progress may be nil.
func Sum(ctx context.Context, s Source, size int64, parallel int, progress func(done, total int64)) (Digest, error) {
	if size > s.Size() {
		return Digest{}, fmt.Errorf("disk of %d bytes is smaller than the %d to read", s.Size(), size)
	}
	job := Job{Source: clipped{s, size}, Target: nothing(size), DryRun: true, Parallel: parallel, Progress: progress}
	st, err := Copy(ctx, job)
	return st.Sum, err
}

// clipped is the beginning of a Source.
type clipped struct {
	Source
	size int64
}

func (c clipped) Size() int64 { return c.size }

// nothing is a Target of zeros that a dry run does not write to.
type nothing int64

func (n nothing) Size() int64 { return int64(n) }

func (n nothing) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (n nothing) WriteAt([]byte, int64) (int, error) { return 0, errNothing }
func (n nothing) Zero(int64, int64) error            { return errNothing }
func (n nothing) Flush() error                       { return errNothing }

var errNothing = fmt.Errorf("write to nothing")

// Verify reads both disks over the size of the first and returns the bytes that differ, in blocks of dr.BlockSize.
func Verify(ctx context.Context, source, target Source, parallel int, progress func(done, total int64)) (int64, error) {
	st, err := Copy(ctx, Job{Source: source, Target: readOnly{target, nothing(target.Size())}, Compare: true, DryRun: true,
		Parallel: parallel, Progress: progress})
	return st.Differ, err
}

// readOnly is a Target that is only read.
type readOnly struct {
	Source
	nothing
}

func (r readOnly) Size() int64                             { return r.Source.Size() }
func (r readOnly) ReadAt(p []byte, off int64) (int, error) { return r.Source.ReadAt(p, off) }
