//go:build unix

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"understudy/internal/dr"
)

// rawSource reads a raw image directly, and its holes from the file system.
type rawSource struct {
	*os.File
	size int64
}

func (s *rawSource) extents(context.Context) ([]dr.Extent, error) {
	var extents []dr.Extent
	for off := int64(0); off < s.size; {
		data, err := s.Seek(off, unix.SEEK_DATA)
		switch {
		case errors.Is(err, syscall.ENXIO):
			return appendExtent(extents, dr.Extent{Offset: off, Length: s.size - off, Zero: true}), nil
		case errors.Is(err, syscall.EINVAL):
			return []dr.Extent{{Length: s.size}}, nil // a file system without holes
		case err != nil:
			return nil, err
		}
		if data > off {
			extents = appendExtent(extents, dr.Extent{Offset: off, Length: data - off, Zero: true})
		}
		hole, err := s.Seek(data, unix.SEEK_HOLE)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		hole = min(hole, s.size)
		extents = appendExtent(extents, dr.Extent{Offset: data, Length: hole - data})
		off = hole
	}
	return extents, nil
}

func fileIdentity(st os.FileInfo) (string, int64) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", 0
	}
	return fmt.Sprintf("%d:%d", sys.Dev, sys.Ino), changeTime(sys)
}
