package segment

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// Key is the secret of a segment, from which the key of each of its objects is derived.
type Key [32]byte

// A Codec compresses and decompresses. It pools encoders and buffers; share one in a process.
type Codec struct {
	encoders sync.Pool
	decoder  *zstd.Decoder // DecodeAll only, which is safe for concurrent use
	raw      sync.Pool     // *[FrameSize]byte
	sealed   sync.Pool     // *[FrameSize + slack]byte
	workers  int
}

// sealedSize is enough for any sealed frame, and for a compressor to overshoot without growing its buffer.
const sealedSize = FrameSize + FrameSize/4

type (
	rawBuffer    [FrameSize]byte
	sealedBuffer [sealedSize]byte
)

// NewCodec returns a codec that compresses with workers goroutines per object written; 0 means one per processor.
func NewCodec(workers int) (*Codec, error) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(max(workers, 2)), zstd.WithDecodeAllCapLimit(true),
		zstd.IgnoreChecksum(true), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	return &Codec{
		decoder:  d,
		workers:  workers,
		raw:      sync.Pool{New: func() any { return new(rawBuffer) }},
		sealed:   sync.Pool{New: func() any { return new(sealedBuffer) }},
		encoders: sync.Pool{New: func() any { return newEncoder() }},
	}, nil
}

func newEncoder() *zstd.Encoder {
	// The options are constants that zstd accepts; only a bad option makes NewWriter fail.
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(FrameSize))
	return e
}

// Buffer returns a buffer of FrameSize bytes for frames read; Release takes it back.
func (c *Codec) Buffer() *[FrameSize]byte { return (*[FrameSize]byte)(c.raw.Get().(*rawBuffer)) }

// Release takes back a buffer of Buffer.
func (c *Codec) Release(b *[FrameSize]byte) { c.raw.Put((*rawBuffer)(b)) }

// A Coding says how a frame's blocks are stored before they are sealed. Values are part of the format.
type Coding uint8

// Codings.
const (
	Raw Coding = iota
	Zstd
	Snappy // weaker than zstd and several times as fast: for when the processor is the bottleneck
)

// encode codes src into the start of buf, or leaves it as it is where that saves too little.
func (c *Codec) encode(buf *sealedBuffer, src []byte, fast bool) ([]byte, Coding) {
	if fast {
		if out := s2.EncodeSnappy(buf[:], src); worthwhile(len(out), len(src)) {
			return out, Snappy
		}
		return append(buf[:0], src...), Raw
	}
	if out, smaller := c.compress(buf[:0], src); smaller {
		return out, Zstd
	}
	return append(buf[:0], src...), Raw
}

// decode is the reverse of encode; dst must have the plain length.
func (c *Codec) decode(dst, src []byte, coding Coding) error {
	switch coding {
	case Zstd:
		return c.decompress(dst, src)
	case Snappy:
		if n, err := s2.DecodedLen(src); err != nil || n != len(dst) {
			return corrupt("decompress: %d bytes, expected %d", n, len(dst))
		}
		if _, err := s2.Decode(dst, src); err != nil {
			return corrupt("decompress: %w", err)
		}
		return nil
	}
	if len(src) != len(dst) {
		return corrupt("%d bytes, expected %d", len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

// worthwhile tells whether compression saves at least a sixteenth.
func worthwhile(stored, plain int) bool { return stored < plain-plain/16 }

// compress appends src, compressed, to dst, or returns false when that saves less than a sixteenth.
func (c *Codec) compress(dst, src []byte) ([]byte, bool) {
	e := c.encoders.Get().(*zstd.Encoder)
	out := e.EncodeAll(src, dst)
	c.encoders.Put(e)
	return out, worthwhile(len(out)-len(dst), len(src))
}

// decompress decodes src into dst, which it must fill exactly.
func (c *Codec) decompress(dst, src []byte) error {
	out, err := c.decoder.DecodeAll(src, dst[:0:len(dst)])
	if err != nil {
		return corrupt("decompress: %w", err)
	}
	if len(out) != len(dst) {
		return corrupt("decompress: %d bytes, expected %d", len(out), len(dst))
	}
	return nil
}

// Numbers in nonces for what is not a frame.
const (
	nonceIndex = 1<<64 - 1
	nonceDesc  = 1<<64 - 2
)

// A Sealer seals and opens the pieces of one object. It is safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD
	aad  Digest
	part uint32
}

// NewSealer derives the key of the object that has this header.
func NewSealer(key Key, header Digest, part uint32) *Sealer {
	var objectKey [32]byte
	material := make([]byte, 0, 64)
	material = append(append(material, key[:]...), header[:]...)
	blake3.DeriveKey("understudy vault 1 object key", material, objectKey[:])
	block, err := aes.NewCipher(objectKey[:])
	if err != nil {
		panic(err) // a key of 32 bytes is always accepted
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES always has the block size that GCM needs
	}
	return &Sealer{aead: aead, aad: header, part: part}
}

func (s *Sealer) nonce(number uint64) (n [12]byte) {
	binary.BigEndian.PutUint32(n[:], s.part)
	binary.BigEndian.PutUint64(n[4:], number)
	return n
}

// seal encrypts b in place; b must have room for the tag.
func (s *Sealer) seal(b []byte, number uint64) []byte {
	n := s.nonce(number)
	return s.aead.Seal(b[:0], n[:], b, s.aad[:])
}

// open decrypts b in place.
func (s *Sealer) open(b []byte, number uint64) ([]byte, error) {
	n := s.nonce(number)
	out, err := s.aead.Open(b[:0], n[:], b, s.aad[:])
	if err != nil {
		return nil, corrupt("fails authentication")
	}
	return out, nil
}

// A section that is not a frame is sealed over one byte that says how it is coded, then the bytes.
const (
	codedRaw  = 0
	codedZstd = 1 // followed by the plain length, 8 bytes

	// maxRatio bounds what a compressed section may expand to, so that a reader's allocation is bounded by the object.
	maxRatio = 16
)

func (c *Codec) sealSection(s *Sealer, plain []byte, number uint64) []byte {
	b := make([]byte, 9, len(plain)/2+1024)
	b[0] = codedZstd
	binary.LittleEndian.PutUint64(b[1:], uint64(len(plain)))
	b, smaller := c.compress(b, plain)
	if !smaller || len(plain) > maxRatio*len(b) {
		b = append(append(b[:0], codedRaw), plain...)
	}
	return s.seal(b, number)
}

// openSection opens a sealed section in place.
func (c *Codec) openSection(s *Sealer, sealed []byte, number uint64) ([]byte, error) {
	b, err := s.open(sealed, number)
	if err != nil {
		return nil, err
	}
	switch {
	case len(b) >= 1 && b[0] == codedRaw:
		return b[1:], nil
	case len(b) >= 9 && b[0] == codedZstd:
		n := binary.LittleEndian.Uint64(b[1:])
		if n > maxRatio*uint64(len(b)) {
			return nil, corrupt("section expands to %d bytes", n)
		}
		plain := make([]byte, n)
		return plain, c.decompress(plain, b[9:])
	}
	return nil, corrupt("section has an unknown coding")
}

// A Frame says where a frame is and how it is coded.
type Frame struct {
	Number uint64 // within its object
	Offset int64  // in its object
	Stored int    // bytes, sealed
	Blocks int
	Coding Coding
}

// sealFrame codes and seals raw into buf and returns the sealed bytes.
func (c *Codec) sealFrame(s *Sealer, buf *sealedBuffer, raw []byte, number uint64, fast bool) (sealed []byte, coding Coding) {
	out, coding := c.encode(buf, raw, fast)
	return s.seal(out, number), coding
}

// OpenFrame decodes a frame that was read into sealed, which it overwrites, into dst, which must have the frame's plain length.
func (c *Codec) OpenFrame(s *Sealer, f Frame, sealed, dst []byte) error {
	b, err := s.open(sealed, f.Number)
	if err != nil {
		return fmt.Errorf("frame %d: %w", f.Number, err)
	}
	if len(dst) != f.Blocks*BlockSize {
		return corrupt("frame %d: %d bytes expected, frame has %d blocks", f.Number, len(dst), f.Blocks)
	}
	if err := c.decode(dst, b, f.Coding); err != nil {
		return fmt.Errorf("frame %d: %w", f.Number, err)
	}
	return nil
}
