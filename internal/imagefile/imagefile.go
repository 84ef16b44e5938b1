// Package imagefile lays image files out before they are written: of any range of the file it is known which bytes of the disk
// are there. So a disk can be sent as a file without making one first, from the beginning or from anywhere else.
package imagefile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"understudy/internal/dr"
)

// Source is a disk. ReadAt and Extents may be called from many goroutines at once.
type Source interface {
	io.ReaderAt
	// Size is in bytes.
	Size() int64
	// Extents covers a range, sorted, with Zero on what is known to read as zeros.
	Extents(off, n int64) []dr.Extent
}

// Format is a format of image files.
type Format string

// Formats.
const (
	Raw   Format = "raw"   // the disk as it is, empty parts too
	QCOW2 Format = "qcow2" // version 3, without what is empty
	VHD   Format = "vhd"   // dynamic, without what is empty
)

// ParseFormat reads a format's name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case Raw, QCOW2, VHD:
		return f, nil
	}
	return "", dr.WithHint(fmt.Errorf("image format %q cannot be sent", name), dr.KindInvalid, "raw, qcow2 or vhd")
}

// Sector is what the sizes of disks in image files are multiples of, in bytes.
const Sector = 512

// A File is an image file of a disk. It may be read from many goroutines at once.
type File struct {
	regions []region
	size    int64
	layout  [sha256.Size]byte
}

// region is a part of the file, whose bytes from at on, counted from its beginning, are made by read.
type region struct {
	start, end int64
	read       func(p []byte, at int64) error
}

// New lays out the image file of a disk. The name tells the file apart from others where its format has room for that, and is the
// same whenever the file is laid out.
func New(src Source, format Format, name string) (*File, error) {
	f := &File{}
	switch format {
	case Raw:
		f.add(src.Size(), func(p []byte, at int64) error { return readFull(src, p, at) })
	case QCOW2:
		f.qcow2(src)
	case VHD:
		if err := f.vhd(src, name); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("image format %q cannot be laid out", format)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", format, src.Size())
	if format != Raw {
		for _, e := range src.Extents(0, src.Size()) {
			fmt.Fprintf(h, "%d %d %t\n", e.Offset, e.Length, e.Zero)
		}
	}
	h.Sum(f.layout[:0])
	return f, nil
}

// Size is the file's, in bytes.
func (f *File) Size() int64 { return f.size }

// Layout names how the disk lies in the file: what was read of one file goes on in another of the same disk when both
// have the same.
func (f *File) Layout() string { return hex.EncodeToString(f.layout[:12]) }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read image file: negative offset")
	}
	n := 0
	for _, r := range f.regions {
		if n == len(p) {
			return n, nil
		}
		if off >= r.end || r.start == r.end {
			continue
		}
		part := p[n : n+int(min(int64(len(p)-n), r.end-off))]
		if err := r.read(part, off-r.start); err != nil {
			return n, err
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *File) add(size int64, read func(p []byte, at int64) error) {
	f.regions = append(f.regions, region{f.size, f.size + size, read})
	f.size += size
}

// bytes adds bytes that are there.
func (f *File) bytes(b []byte) {
	f.add(int64(len(b)), func(p []byte, at int64) error { copy(p, b[at:]); return nil })
}

// words adds numbers of width bytes, big-endian, which are made as they are read, and zeros to the end of size bytes.
func (f *File) words(size int64, width int, word func(i int64) uint64) {
	f.add(size, func(p []byte, at int64) error {
		var b [8]byte
		for n := 0; n < len(p); {
			i, skip := (at+int64(n))/int64(width), int((at+int64(n))%int64(width))
			binary.BigEndian.PutUint64(b[:], word(i))
			n += copy(p[n:], b[8-width+skip:])
		}
		return nil
	})
}

// readFull reads the disk; behind its end are zeros.
func readFull(src Source, p []byte, at int64) error {
	inside := p[:max(0, min(int64(len(p)), src.Size()-at))]
	clear(p[len(inside):])
	if len(inside) == 0 {
		return nil
	}
	n, err := src.ReadAt(inside, at)
	if n == len(inside) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// A run is units of the disk that are in the file, one behind the other.
type run struct {
	first, count int64 // on the disk
	index        int64 // of the first, in the file
}

// runs are all units of the disk that hold data, in order.
type runs []run

// allocate finds the units of the disk that are not known to be empty.
func allocate(src Source, unit int64) (list runs, count int64) {
	for _, e := range src.Extents(0, src.Size()) {
		if e.Zero || e.Length == 0 {
			continue
		}
		first, end := e.Offset/unit, (e.End()+unit-1)/unit
		if k := len(list); k > 0 && list[k-1].first+list[k-1].count >= first {
			last := &list[k-1]
			grown := max(end-last.first, last.count)
			count += grown - last.count
			last.count = grown
			continue
		}
		list = append(list, run{first, end - first, count})
		count += end - first
	}
	return list, count
}

// index returns where a unit of the disk is in the file.
func (l runs) index(unit int64) (int64, bool) {
	r, found := l.find(unit, func(r run) int64 { return r.first })
	return r.index + unit - r.first, found
}

// at returns which unit of the disk is at an index in the file, and how many follow it there, itself included.
func (l runs) at(index int64) (unit, follow int64) {
	r, found := l.find(index, func(r run) int64 { return r.index })
	if !found {
		return 0, 0
	}
	return r.first + index - r.index, r.index + r.count - index
}

// find returns the run that a number is in, by where runs begin in that numbering.
func (l runs) find(n int64, begin func(run) int64) (run, bool) {
	i, found := slices.BinarySearchFunc(l, n, func(r run, n int64) int {
		switch {
		case begin(r)+r.count <= n:
			return -1
		case begin(r) > n:
			return 1
		}
		return 0
	})
	if !found {
		return run{}, false
	}
	return l[i], true
}
