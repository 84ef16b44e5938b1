package qemu

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// image is what a disk's file says about itself.
type image struct {
	Size    int64  // virtual size in bytes
	Backing string // name of the image that it needs below it, if any
}

// readImage reads the facts of a raw or qcow2 file without opening it as QEMU would, so that it works while a machine
// runs on it. The qcow2 header is that of https://www.qemu.org/docs/master/interop/qcow2.html.
func readImage(path, format string) (image, error) {
	f, err := os.Open(path)
	if err != nil {
		return image{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	if format == "raw" {
		size, err := f.Seek(0, io.SeekEnd) // also right for a block device
		return image{Size: size}, err
	}
	var h [32]byte
	if _, err := io.ReadFull(f, h[:]); err != nil {
		return image{}, fmt.Errorf("%s: read qcow2 header: %w", path, err)
	}
	if string(h[:4]) != "QFI\xfb" {
		return image{}, fmt.Errorf("%s is not a qcow2 file", path)
	}
	size := binary.BigEndian.Uint64(h[24:])
	if size > 1<<62 {
		return image{}, fmt.Errorf("%s: qcow2 header claims %d bytes", path, size)
	}
	img := image{Size: int64(size)}
	if off, n := binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:]); off != 0 && n != 0 {
		name := make([]byte, min(n, 1023)) // the format's limit
		if _, err := f.ReadAt(name, int64(off&(1<<62-1))); err != nil {
			return image{}, fmt.Errorf("%s: read name of backing file: %w", path, err)
		}
		img.Backing = string(name)
	}
	return img, nil
}
