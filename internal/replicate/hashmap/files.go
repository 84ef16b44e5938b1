package hashmap

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// A fileSystem is where maps are kept. Tests put one in its place that loses power.
type fileSystem interface {
	open(path string, create bool) (file, error)
	remove(path string) error // of a file that may not exist
	makeDir(path string) error
	syncDir(path string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
	// nextData is the first offset from off on that may hold other bytes than zeros; -1 when there is none.
	nextData(off int64) (int64, error)
}

type osFiles struct{}

type osFile struct{ *os.File }

func (osFiles) open(path string, create bool) (file, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (osFiles) makeDir(path string) error { return os.MkdirAll(path, 0o700) }
