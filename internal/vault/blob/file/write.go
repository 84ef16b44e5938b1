package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

var errClosed = errors.New("store is closed")

// writeTemp copies r into a new, durable temporary file, and returns its path. With an error there is no file.
func (s *Store) writeTemp(ctx context.Context, r io.Reader) (path string, info fs.FileInfo, err error) {
	dir, err := s.tempDir(ctx)
	if err != nil {
		return "", nil, err
	}
	tmp := filepath.Join(dir, rand.Text())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			f.Close() // a second close after a failed one is harmless
			os.Remove(tmp)
		}
	}()
	if err := s.copy(ctx, f, r); err != nil {
		return "", nil, err
	}
	if err := f.Sync(); err != nil {
		return "", nil, err
	}
	if info, err = f.Stat(); err != nil {
		return "", nil, err
	}
	// Closed before it is named: some systems move no open file, and some file servers tell of an error only now.
	if err := f.Close(); err != nil {
		return "", nil, err
	}
	return tmp, info, nil
}

// early is how many bytes are written before the system is asked to begin to store them: a large object would otherwise
// stand still at its end, while all of it goes to the disk at once.
const early = 4 << 20

func (s *Store) copy(ctx context.Context, f *os.File, r io.Reader) error {
	buf := s.copies.Get().(*[]byte)
	defer s.copies.Put(buf)
	var written, begun int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(*buf)
		if n > 0 {
			if _, err := f.Write((*buf)[:n]); err != nil {
				return err
			}
			written += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if written-begun >= early {
			beginWriteback(f, begun, written-begun)
			begun = written
		}
	}
}

// tempDir returns this store's folder for temporary files; the first call makes it.
func (s *Store) tempDir(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errClosed
	}
	if s.live != nil {
		return s.tmp, nil
	}
	if err := os.MkdirAll(filepath.Join(s.dir, own, "tmp"), dirMode); err != nil {
		return "", err
	}
	// Under the main lock no sweeper sees the folder before its "live" file is locked.
	unlock, err := s.lock(ctx, lockMain)
	if err != nil {
		return "", err
	}
	defer unlock()
	tmp := filepath.Join(s.dir, own, "tmp", strings.ToLower(rand.Text()))
	if err := os.Mkdir(tmp, dirMode); err != nil {
		return "", err
	}
	live, err := os.OpenFile(filepath.Join(tmp, "live"), os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	if ok, err := tryLock(live); err != nil || !ok {
		live.Close()
		return "", fmt.Errorf("lock %s: %w", live.Name(), errors.Join(err, errors.ErrUnsupported))
	}
	s.live, s.tmp = live, tmp
	return tmp, nil
}

// sweep removes the temporary folders of stores whose process is gone. What it cannot do is left for the next Open:
// the store may be on a read-only file system, or belong to someone else.
func (s *Store) sweep() {
	parent := filepath.Join(s.dir, own, "tmp")
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) == 0 {
		return
	}
	lock, err := os.OpenFile(s.lockPath(lockMain), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return
	}
	defer lock.Close()
	if ok, err := tryLock(lock); err != nil || !ok {
		return // another process is at it
	}
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		live, err := os.OpenFile(filepath.Join(dir, "live"), os.O_RDWR, fileMode)
		if errors.Is(err, fs.ErrNotExist) {
			// Its maker was killed before it made the file, or it was half swept: nobody writes here.
			_ = os.RemoveAll(dir)
			continue
		}
		if err != nil {
			continue
		}
		dead, err := tryLock(live)
		live.Close()
		if err == nil && dead {
			removeDead(dir)
		}
	}
}

// removeDead removes a dead store's folder, the file "live" last, so that a sweep that is cut short can go on.
func removeDead(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != "live" {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.RemoveAll(dir)
}

// makeParents makes the folders of a name, each durable in its parent. A folder that another process made is made
// durable too, since that process may not have come to it yet; once per folder is enough.
func (s *Store) makeParents(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.dir
	elements := strings.Split(name, "/")
	for _, element := range elements[:len(elements)-1] {
		parent := dir
		dir = filepath.Join(dir, element)
		if s.durable[dir] {
			continue
		}
		if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(parent); err != nil {
			return err
		}
		s.durable[dir] = true
	}
	return nil
}

// makeDirs is os.MkdirAll whose folders are durable when it returns.
func makeDirs(dir string) error {
	parent := filepath.Dir(dir)
	if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}
