// Package export writes a disk to an image file: raw by its own sparse writer, other formats by qemu-img, which reads
// the disk through NBD, so that there is no copy in between; or receives one that is sent. The file appears under its name whole
// or not at all.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/scratch"
)

// Source is a disk to write. ReadAt and Extents may be called from many goroutines at once.
type Source interface {
	io.ReaderAt
	Size() int64
	// Extents covers a range, sorted, with Zero on what is known to read as zeros.
	Extents(off, n int64) []dr.Extent
}

// Format is a format of image files.
type Format string

// Formats.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VHD   Format = "vhd"
	VHDX  Format = "vhdx"
	VMDK  Format = "vmdk"
)

// ParseFormat reads a format's name; when it is empty, the file's name decides.
func ParseFormat(name, file string) (Format, error) {
	if name == "" {
		name = strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
		switch name {
		case "img", "":
			name = "raw"
		case "vpc":
			name = "vhd"
		}
	}
	switch f := Format(name); f {
	case Raw, QCOW2, VHD, VHDX, VMDK:
		return f, nil
	}
	return "", dr.WithHint(fmt.Errorf("unknown image format %q", name), dr.KindInvalid, "--format raw, qcow2, vhd, vhdx or vmdk")
}

// Ext is how the names of files of the format end.
func (f Format) Ext() string { return "." + string(f) }

// Request asks for a file.
type Request struct {
	Source   Source
	Format   Format
	File     string
	Force    bool                    // replace a file of that name
	Sync     bool                    // wait until the file is on the disk
	Progress func(done, total int64) // bytes of data; may be nil; called from one goroutine at a time
}

// Result is what was written.
type Result struct {
	File   string `json:"file"`
	Format Format `json:"format"`
	Size   int64  `json:"size"`  // of the disk
	Bytes  int64  `json:"bytes"` // that the file takes on its file system
}

// Write writes the disk to the file.
func Write(ctx context.Context, req Request) (Result, error) {
	if req.Progress == nil {
		req.Progress = func(int64, int64) {}
	}
	return place(req, func(tmp *os.File) (size int64, err error) {
		if req.Format == Raw {
			err = writeRaw(ctx, tmp, req)
		} else {
			err = convert(ctx, tmp.Name(), req)
		}
		return req.Source.Size(), err
	})
}

// place has a file filled, and gives it its name when it is whole. fill returns the size of the disk.
func place(req Request, fill func(*os.File) (int64, error)) (res Result, err error) {
	if err := free(req.File, req.Force); err != nil {
		return res, err
	}
	tmp, err := scratch.Part(req.File)
	if err != nil {
		kind := dr.KindUnavailable
		if errors.Is(err, fs.ErrNotExist) {
			kind = dr.KindNotFound
		}
		return res, dr.WithHint(fmt.Errorf("write %s: %w", req.File, err), kind, "check the folder")
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", req.File, err)
			if rerr := os.Remove(tmp.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	size, err := fill(tmp)
	if err == nil && req.Sync {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return res, err
	}
	if err := os.Chmod(tmp.Name(), 0o600); err != nil {
		return res, err
	}
	// Looked at once more: a file may have come meanwhile.
	if err := free(req.File, req.Force); err != nil {
		return res, err
	}
	if err := os.Rename(tmp.Name(), req.File); err != nil {
		return res, err
	}
	if req.Sync {
		if err := syncDir(filepath.Dir(req.File)); err != nil {
			return res, err
		}
	}
	return Result{File: req.File, Format: req.Format, Size: size, Bytes: allocated(req.File)}, nil
}

func free(file string, force bool) error {
	st, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return dr.WithHint(fmt.Errorf("write %s: it is no ordinary file", file), dr.KindConflict, "name a new file")
	}
	if !force {
		return dr.WithHint(fmt.Errorf("write %s: the file exists", file), dr.KindConflict, "add --force to replace it, or name another file")
	}
	return nil
}

// A walker is a Source that knows the best order to read it in: it calls fn with all data, from several goroutines.
type walker interface {
	Walk(ctx context.Context, fn func(off int64, p []byte) error) error
}

// writeRaw writes a raw image. What reads as zeros becomes a hole.
func writeRaw(ctx context.Context, f *os.File, req Request) error {
	size := req.Source.Size()
	if err := f.Truncate(size); err != nil {
		return err
	}
	var total int64
	for _, e := range req.Source.Extents(0, size) {
		if !e.Zero {
			total += e.Length
		}
	}
	var done atomic.Int64
	var reporting sync.Mutex
	take := func(off int64, p []byte) error {
		if err := writeSparse(f, p, off); err != nil {
			return err
		}
		done.Add(int64(len(p)))
		if reporting.TryLock() {
			req.Progress(done.Load(), total)
			reporting.Unlock()
		}
		return nil
	}
	var err error
	if w, ok := req.Source.(walker); ok {
		err = w.Walk(ctx, take)
	} else {
		err = readAll(ctx, req.Source, take)
	}
	if err != nil {
		return err
	}
	req.Progress(total, total)
	return nil
}

// step is how much of a disk one goroutine takes at a time.
const step = 4 << 20

// readAll is Walk for a source that has none.
func readAll(ctx context.Context, src Source, take func(off int64, p []byte) error) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(max(4, 2*runtime.GOMAXPROCS(0)))
	buffers := sync.Pool{New: func() any { return new([step]byte) }}
	for off := int64(0); off < src.Size() && each.Err() == nil; off += step {
		g.Go(func() error {
			buf := buffers.Get().(*[step]byte)
			defer buffers.Put(buf)
			for _, e := range src.Extents(off, min(step, src.Size()-off)) {
				if e.Zero {
					continue
				}
				p := buf[:e.Length]
				if n, err := src.ReadAt(p, e.Offset); n < len(p) {
					return fmt.Errorf("read at %d: %w", e.Offset, err)
				}
				if err := take(e.Offset, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// hole is the granularity at which blocks of zeros are left out of a file.
const hole = 64 << 10

var zeros [hole]byte

func writeSparse(f *os.File, p []byte, off int64) error {
	for len(p) > 0 {
		// Runs of data go out in one write.
		n := 0
		for n < len(p) && !isZero(p[n:min(n+hole, len(p))]) {
			n = min(n+hole, len(p))
		}
		if n > 0 {
			if _, err := f.WriteAt(p[:n], off); err != nil {
				return err
			}
		} else {
			n = min(hole, len(p))
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func isZero(p []byte) bool { return string(p) == string(zeros[:len(p)]) }
