package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"
)

// A File is an object opened for reading. It is safe for concurrent use.
type File struct {
	Header  *Header
	Trailer *Trailer

	r       io.ReaderAt
	head    []byte // the object's first bytes
	tail    []byte // the object's last bytes
	tailOff int64
}

// HeadBytes and TailBytes are how much of an object's ends Open reads at first.
const (
	HeadBytes = 4 << 10
	TailBytes = 32 << 10
)

// Open reads the header and the trailer of an object of size bytes and checks them. tail is how many bytes to read from
// the end in one go: TrailerSize, or TailBytes when the index is wanted next.
func Open(r io.ReaderAt, size int64, tail int64) (*File, error) {
	if size < minObject {
		return nil, corrupt("object of %d bytes is too short for a segment", size)
	}
	f := &File{r: r}
	tail = min(max(tail, TrailerSize), size)
	if size <= HeadBytes+tail {
		tail = size
	}
	f.tailOff = size - tail
	f.tail = make([]byte, tail)
	if err := readFull(r, f.tail, f.tailOff); err != nil {
		return nil, fmt.Errorf("read trailer: %w", err)
	}
	f.head = f.tail
	if f.tailOff > 0 {
		f.head = make([]byte, min(HeadBytes, size))
		if err := readFull(r, f.head, 0); err != nil {
			return nil, fmt.Errorf("read header: %w", err)
		}
	}
	var err error
	if f.Trailer, err = DecodeTrailer(f.tail[tail-TrailerSize:], size); err != nil {
		return nil, err
	}
	n, err := headerLength(f.head)
	if err != nil {
		return nil, err
	}
	if n != f.Trailer.HeaderLen {
		return nil, corrupt("header has %d bytes, the trailer says %d", n, f.Trailer.HeaderLen)
	}
	b, err := f.section(0, n)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if blake3.Sum256(b) != f.Trailer.Header {
		return nil, corrupt("header fails its digest")
	}
	f.Header, err = DecodeHeader(b)
	return f, err
}

// section returns bytes of the object, which the caller may change unless they are the header.
func (f *File) section(off, n int64) ([]byte, error) {
	if off == 0 && n <= int64(len(f.head)) {
		return f.head[:n:n], nil
	}
	b := make([]byte, n)
	if off >= f.tailOff && off-f.tailOff+n <= int64(len(f.tail)) {
		copy(b, f.tail[off-f.tailOff:])
		return b, nil
	}
	return b, readFull(f.r, b, off)
}

func (f *File) checked(what string, off, n int64, want Digest) ([]byte, error) {
	b, err := f.section(off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if blake3.Sum256(b) != want {
		return nil, corrupt("%s fails its digest", what)
	}
	return b, nil
}

// Sealer returns the sealer of this object, from the key of its segment.
func (f *File) Sealer(key Key) *Sealer { return NewSealer(key, f.Trailer.Header, f.Header.Part) }

// Index reads and opens the index.
func (f *File) Index(c *Codec, s *Sealer) (*Index, error) {
	t := f.Trailer
	sealed, err := f.checked("index", t.HeaderLen+t.FramesLen, t.IndexLen, t.Index)
	if err != nil {
		return nil, err
	}
	plain, err := c.openSection(s, sealed, nonceIndex)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	x, err := DecodeIndex(plain)
	if err != nil {
		return nil, err
	}
	return x, f.match(x)
}

// match checks that the index speaks of the frames that the object has.
func (f *File) match(x *Index) error {
	t := f.Trailer
	if t.PartsLen > 0 {
		if len(x.Parts) != int(t.PartsLen/partSize) {
			return corrupt("index has %d parts, the table has %d", len(x.Parts), t.PartsLen/partSize)
		}
		return nil
	}
	switch {
	case len(x.Parts) == 0 && t.FramesLen == 0: // a seed of nothing but zeros
	case len(x.Parts) != 1 || x.Parts[0].Part != f.Header.Part:
		return corrupt("index speaks of other objects")
	case int64(len(x.Parts[0].Frames)) != t.Frames || x.Parts[0].Length() != t.FramesLen:
		return corrupt("index does not match the frames")
	}
	return nil
}

// Parts reads the table of parts.
func (f *File) Parts() ([]Part, error) {
	t := f.Trailer
	b, err := f.checked("table of parts", t.HeaderLen+t.FramesLen+t.IndexLen, t.PartsLen, t.Parts)
	if err != nil {
		return nil, err
	}
	return DecodeParts(b)
}

// Description reads and opens the description of the machines.
func (f *File) Description(c *Codec, s *Sealer) ([]byte, error) {
	t := f.Trailer
	sealed, err := f.checked("description", t.HeaderLen+t.FramesLen+t.IndexLen+t.PartsLen, t.DescLen, t.Desc)
	if err != nil {
		return nil, err
	}
	b, err := c.openSection(s, sealed, nonceDesc)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	return b, nil
}

// Check reads the whole object and compares all digests. It needs no key. progress, if any, is told of bytes read.
func (f *File) Check(progress func(n int64)) error {
	t := f.Trailer
	if _, err := f.checked("index", t.HeaderLen+t.FramesLen, t.IndexLen, t.Index); err != nil {
		return err
	}
	if _, err := f.Parts(); err != nil {
		return err
	}
	if _, err := f.checked("description", t.HeaderLen+t.FramesLen+t.IndexLen+t.PartsLen, t.DescLen, t.Desc); err != nil {
		return err
	}
	hash := blake3.New()
	buf := make([]byte, min(1<<20, t.FramesLen))
	for off := int64(0); off < t.FramesLen; {
		b := buf[:min(int64(len(buf)), t.FramesLen-off)]
		if err := readFull(f.r, b, t.HeaderLen+off); err != nil {
			return fmt.Errorf("read frames: %w", err)
		}
		hash.Write(b)
		off += int64(len(b))
		if progress != nil {
			progress(int64(len(b)))
		}
	}
	var sum Digest
	hash.Sum(sum[:0])
	if sum != t.FrameData {
		return corrupt("frames fail their digest")
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("%d of %d bytes at %d: object is truncated", n, len(p), off)
	}
	return err
}
