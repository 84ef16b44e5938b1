// Package segment is the file format of recovery points and nothing else: one immutable object that holds what changed
// on the disks of a group between two positions of its history. docs/vault-format.md describes every byte.
//
// An object is, in this order: a plain header, sealed frames of up to 64 blocks, a sealed and sorted index of extents,
// a plain table of parts (seeds only), a sealed description of the machines, and a fixed trailer with lengths and digests.
// It is written as a stream and read by ranges. Decoders take hostile input: they return errors of dr.KindCorrupt,
// and allocate no more than a small multiple of the object's real size.
package segment

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"understudy/internal/dr"

	"github.com/zeebo/blake3"
)

// Format is the version of the format that this package writes and the only one that it reads.
const Format = 1

const (
	headerMagic  = "UNDERSEG"
	trailerMagic = "UNDTRAIL"

	preambleSize = 16
	// TrailerSize is the length of the trailer in bytes.
	TrailerSize = 288
	// maxHeader bounds the JSON of a header.
	maxHeader = 1 << 20

	// BlockSize is the granularity of the index.
	BlockSize = dr.BlockSize
	// FrameBlocks is the largest number of blocks in a frame.
	FrameBlocks = 64
	// FrameSize is the largest number of plain bytes in a frame.
	FrameSize = FrameBlocks * BlockSize
	// maxDisk bounds the size of a disk: 1 PiB.
	maxDisk = 1 << 50

	sealOverhead = 16
	minObject    = preambleSize + TrailerSize
)

// Object kinds.
const (
	ObjectSegment = "segment" // a change from one position to another, or a base
	ObjectPart    = "part"    // part of a seed; means nothing without the segment that lists it
)

// Digest is a BLAKE3-256 digest.
type Digest [32]byte

// Header is the plain part of an object. It says where the object stands in history and holds the wrapped key.
type Header struct {
	Format   int            `json:"format"`
	Object   string         `json:"object"`
	Vault    string         `json:"vault"`
	Group    string         `json:"group"`
	Prev     *Position      `json:"prev,omitempty"` // nil for a base
	To       Position       `json:"to"`             // its chain is stated by merged segments only; others compute it
	Merged   bool           `json:"merged,omitempty"`
	Seed     string         `json:"seed,omitempty"` // the seed that a part, or the segment that lists it, belongs to
	Part     uint32         `json:"part,omitempty"` // number of this object within its seed
	Capture  string         `json:"capture,omitempty"`
	Time     time.Time      `json:"time,omitzero"`
	Known    time.Time      `json:"known,omitzero"`
	Kind     dr.Consistency `json:"kind,omitempty"`
	Skew     time.Duration  `json:"skew,omitempty"` // nanoseconds between the first and the last disk's instant
	Machines []string       `json:"machines,omitempty"`
	Size     int64          `json:"size,omitempty"`    // virtual bytes of all disks
	Changed  int64          `json:"changed,omitempty"` // merged: bytes that differ between the point and the one before it, as first written
	Bytes    int64          `json:"bytes,omitempty"`   // merged: stored bytes that the point added, as first written
	Salt     []byte         `json:"salt"`              // 16 random bytes: no two objects have the same header, so none share a key
	Key      []byte         `json:"key"`               // the file key, wrapped (an age file)
}

// Base reports whether the segment needs no other one.
func (h *Header) Base() bool { return h.Prev == nil }

// Position is a dr.Position in a header, with its chain.
type Position struct {
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Chain    string `json:"chain,omitempty"` // 32 hexadecimal digits
}

// NewPosition converts a position for a header.
func NewPosition(p dr.Position) Position {
	return Position{Epoch: p.Epoch, Sequence: p.Sequence, Chain: hex.EncodeToString(p.Chain[:])}
}

// Value converts a position from a header. An absent chain is all zeros.
func (p Position) Value() (dr.Position, error) {
	v := dr.Position{Epoch: p.Epoch, Sequence: p.Sequence}
	if p.Chain == "" {
		return v, nil
	}
	b, err := hex.DecodeString(p.Chain)
	if err != nil || len(b) != len(v.Chain) {
		return v, corrupt("chain %.40q is not 32 hexadecimal digits", p.Chain)
	}
	copy(v.Chain[:], b)
	return v, nil
}

// Chain is the checksum of the history that ends in a segment, from that of the history before it (zeros for a base)
// and the segment's digest.
func Chain(prev [16]byte, d Digest) (chain [16]byte) {
	var in [48]byte
	copy(in[:16], prev[:])
	copy(in[16:], d[:])
	sum := blake3.Sum256(in[:])
	copy(chain[:], sum[:])
	return chain
}

func corrupt(format string, args ...any) error {
	return dr.WithHint(fmt.Errorf(format, args...), dr.KindCorrupt,
		"run `understudy vault verify` to see which recovery points are still good")
}

// EncodeHeader returns the header's bytes, preamble included.
func EncodeHeader(h *Header) ([]byte, error) {
	if err := h.validate(); err != nil {
		return nil, err
	}
	js, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	if len(js) > maxHeader {
		return nil, fmt.Errorf("encode header: %d bytes are more than %d", len(js), maxHeader)
	}
	b := make([]byte, preambleSize, preambleSize+len(js))
	copy(b, headerMagic)
	binary.LittleEndian.PutUint32(b[8:], Format)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(js)))
	return append(b, js...), nil
}

// headerLength returns the length of the header, preamble included, from its first 16 bytes.
func headerLength(b []byte) (int64, error) {
	if len(b) < preambleSize || string(b[:8]) != headerMagic {
		return 0, corrupt("not a segment: no magic number")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Format {
		return 0, dr.WithHint(fmt.Errorf("segment has format %d, this program reads %d", v, Format), dr.KindCorrupt,
			"use a newer version of understudy")
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n > maxHeader {
		return 0, corrupt("header of %d bytes is too long", n)
	}
	return preambleSize + int64(n), nil
}

// DecodeHeader decodes a whole header, preamble included.
func DecodeHeader(b []byte) (*Header, error) {
	n, err := headerLength(b)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != n {
		return nil, corrupt("header has %d bytes, expected %d", len(b), n)
	}
	h := new(Header)
	if err := json.Unmarshal(b[preambleSize:], h); err != nil {
		return nil, corrupt("header: %w", err)
	}
	if err := h.validate(); err != nil {
		return nil, corrupt("header: %w", err)
	}
	return h, nil
}

func (h *Header) validate() error {
	switch {
	case h.Format != Format:
		return fmt.Errorf("format %d, expected %d", h.Format, Format)
	case h.Object != ObjectSegment && h.Object != ObjectPart:
		return fmt.Errorf("unknown object %.40q", h.Object)
	case h.Group == "":
		return fmt.Errorf("no group")
	case h.To.Epoch == 0 || h.To.Sequence == 0:
		return fmt.Errorf("no position")
	case h.Prev != nil && (h.Prev.Sequence >= h.To.Sequence || h.Prev.Epoch > h.To.Epoch):
		return fmt.Errorf("position %d-%d does not follow %d-%d", h.To.Epoch, h.To.Sequence, h.Prev.Epoch, h.Prev.Sequence)
	case h.Merged && len(h.To.Chain) != 32:
		return fmt.Errorf("merged segment states no chain")
	case h.Object == ObjectPart && h.Seed == "":
		return fmt.Errorf("part of no seed")
	case len(h.Salt) != 16:
		return fmt.Errorf("salt has %d bytes, expected 16", len(h.Salt))
	case h.Size < 0 || h.Changed < 0 || h.Bytes < 0:
		return fmt.Errorf("negative size")
	}
	return nil
}

// Trailer is the end of an object: where its sections are, and what they must hash to.
type Trailer struct {
	HeaderLen, FramesLen, IndexLen, PartsLen, DescLen int64

	Frames  int64 // number of frames
	Changed int64 // bytes of disk in the index, zeros included
	Zero    int64 // of these, bytes that are zero
	Size    int64 // of the object
	Stored  int64 // size of the object and of the parts that it lists

	Header, FrameData, Index, Parts, Desc Digest

	// Digest is that of the trailer's bytes before it, and so of everything.
	Digest Digest
}

// Encode returns the trailer's bytes and sets its Digest.
func (t *Trailer) Encode() []byte {
	b := make([]byte, 0, TrailerSize)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint32(b, Format)
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, n := range []int64{t.HeaderLen, t.FramesLen, t.IndexLen, t.PartsLen, t.DescLen, t.Frames, t.Changed, t.Zero, t.Size, t.Stored} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, d := range []Digest{t.Header, t.FrameData, t.Index, t.Parts, t.Desc} {
		b = append(b, d[:]...)
	}
	t.Digest = blake3.Sum256(b)
	return append(b, t.Digest[:]...)
}

// DecodeTrailer decodes the trailer of an object of size bytes.
func DecodeTrailer(b []byte, size int64) (*Trailer, error) {
	if len(b) != TrailerSize || string(b[:8]) != trailerMagic {
		return nil, corrupt("no trailer: truncated or overwritten")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Format {
		return nil, corrupt("trailer has format %d, expected %d", v, Format)
	}
	t := new(Trailer)
	if t.Digest = blake3.Sum256(b[:TrailerSize-32]); t.Digest != Digest(b[TrailerSize-32:]) {
		return nil, corrupt("trailer fails its digest")
	}
	at := 16
	for _, n := range []*int64{&t.HeaderLen, &t.FramesLen, &t.IndexLen, &t.PartsLen, &t.DescLen, &t.Frames, &t.Changed, &t.Zero, &t.Size, &t.Stored} {
		if *n = int64(binary.LittleEndian.Uint64(b[at:])); *n < 0 || *n > 1<<60 {
			return nil, corrupt("trailer has a length out of range")
		}
		at += 8
	}
	for _, d := range []*Digest{&t.Header, &t.FrameData, &t.Index, &t.Parts, &t.Desc} {
		at += copy(d[:], b[at:at+32])
	}
	sum := int64(TrailerSize)
	for _, n := range []int64{t.HeaderLen, t.FramesLen, t.IndexLen, t.PartsLen, t.DescLen} {
		if n > size {
			return nil, corrupt("trailer has a section longer than the object")
		}
		sum += n
	}
	if t.Size != size || sum != size {
		return nil, corrupt("object has %d bytes, its trailer says %d", size, t.Size)
	}
	if t.HeaderLen < preambleSize || t.HeaderLen > preambleSize+maxHeader || t.Frames > t.FramesLen/sealOverhead || t.Stored < size {
		return nil, corrupt("trailer contradicts itself")
	}
	return t, nil
}
