// Package file keeps objects as files of a folder: a blob.Store for a local disk or a file server.
//
// An object is the file of its name. It is written to a temporary file, made durable (fsync), and only then given its
// name by an operation that fails when the name is taken; then the folder is made durable. So a name never shows half
// an object, whatever is killed, and of several writers of one name exactly one succeeds, in one process or in many.
// The store's own files are under ".store", a name that no object can have:
//
//	.store/lock, .store/lock-X    locked (flock) while a mutable object is replaced, or the folder below is tidied
//	.store/tmp/<random>/          temporary files of one open store, which holds a lock on the file "live" in it
//
// Locks end with the process that holds them. Open removes the temporary files of processes that are gone.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

const (
	own      = ".store"
	dirMode  = 0o700
	fileMode = 0o600
)

// A Store is a blob.Store in a folder. Make one with Open.
type Store struct {
	dir     string
	handles handles

	mu      sync.Mutex
	durable map[string]bool // folders known to be durable in their parents
	live    *os.File        // locked while this store may have temporary files; nil before its first write
	tmp     string          // folder of its temporary files
	closed  bool
	copies  sync.Pool // of *[]byte, for Create

	locks [lockCount]chan struct{} // held around the lock file of the same number, which does not exclude goroutines
}

var _ blob.Store = (*Store)(nil)

// Open opens the store in the folder dir. With create the folder is made when it does not exist; without it a
// missing folder is an error of dr.KindNotFound. Opening and reading write nothing, so that a store on a read-only
// file system can be read; Open removes what dead writers left if it may.
func Open(dir string, create bool) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Store{dir: dir, durable: map[string]bool{}}
	s.copies.New = func() any { b := make([]byte, 256<<10); return &b }
	for i := range s.locks {
		s.locks[i] = make(chan struct{}, 1)
	}
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return nil, dr.WithHint(fmt.Errorf("open store %s: not a folder", dir), dr.KindInvalid, "name the folder that holds the vault, not a file in it")
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && create:
		if err := makeDirs(dir); err != nil {
			return nil, s.explain("create store", dir, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, dr.WithHint(fmt.Errorf("open store %s: no such folder", dir), dr.KindNotFound, "check the path, or create the vault first")
	default:
		return nil, s.explain("open store", dir, err)
	}
	s.sweep()
	return s, nil
}

// Close closes the store's files and removes its temporary folder. No call may be under way.
func (s *Store) Close() error {
	s.handles.drop("")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.live == nil {
		return nil
	}
	// Removed first where the system allows it: a folder whose lock is free may be swept by another process.
	err := os.RemoveAll(s.tmp)
	closed := s.live.Close()
	s.live = nil
	if err != nil {
		err = os.RemoveAll(s.tmp)
	}
	return errors.Join(err, closed)
}

// Dir is the folder of the store.
func (s *Store) Dir() string { return s.dir }

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	// An early look saves writing what cannot be kept; the naming below decides.
	if _, err := os.Lstat(s.path(name)); err == nil {
		return blob.Info{}, s.explain("create", name, blob.ErrExists)
	}
	tmp, info, err := s.writeTemp(ctx, r)
	if err != nil {
		return blob.Info{}, s.explain("create", name, err)
	}
	defer os.Remove(tmp) // gone already when all went well
	if err := s.makeParents(name); err != nil {
		return blob.Info{}, s.explain("create", name, err)
	}
	if err := ctx.Err(); err != nil {
		return blob.Info{}, s.explain("create", name, err)
	}
	if err := s.giveName(ctx, tmp, name); err != nil {
		return blob.Info{}, s.explain("create", name, err)
	}
	if err := syncDir(filepath.Dir(s.path(name))); err != nil {
		// Not known to be durable, so it must not be seen: the caller is told that it does not exist.
		return blob.Info{}, s.explain("create", name, errors.Join(err, os.Remove(s.path(name))))
	}
	return blob.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// giveName moves a durable temporary file to a name that must be free.
func (s *Store) giveName(ctx context.Context, tmp, name string) error {
	err := moveNew(tmp, s.path(name))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return blob.ErrExists
	case !errors.Is(err, errors.ErrUnsupported):
		return err
	}
	// No operation of this file system both names a file and fails when the name is taken: make one of two under a
	// lock that every such writer takes.
	unlock, err := s.lock(ctx, lockMain)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(s.path(name)); err == nil {
		return blob.ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, s.path(name))
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := s.begin(ctx, name); err != nil {
		return blob.Info{}, s.explain("stat", name, err)
	}
	info, err := os.Lstat(s.path(name))
	if err == nil && !info.Mode().IsRegular() {
		err = blob.ErrNotFound
	}
	if err != nil {
		return blob.Info{}, s.explain("stat", name, err)
	}
	return blob.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// ReadAt implements blob.Store. Files stay open for the next read, up to a number of them.
func (s *Store) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := s.begin(ctx, name); err != nil {
		return s.explain("read", name, err)
	}
	if off < 0 {
		return dr.WithHint(fmt.Errorf("read %s: negative offset %d", name, off), dr.KindInvalid, "")
	}
	f, err := s.handles.open(name, s.path(name))
	if err != nil {
		return s.explain("read", name, err)
	}
	n, err := f.file.ReadAt(p, off)
	s.handles.release(f)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = fmt.Errorf("%d bytes at %d: object ends after %d of them: %w", len(p), off, n, io.ErrUnexpectedEOF)
	}
	return s.explain("read", name, err)
}

// Delete implements blob.Store. Folders stay, so that no writer's folder disappears under it.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.begin(ctx, name); err != nil {
		return s.explain("delete", name, err)
	}
	path := s.path(name)
	if info, err := os.Lstat(path); isMissing(err) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	// A mutable object must not vanish between the look and the replacement of PutTagged.
	unlock, err := s.lock(ctx, lockOf(name))
	if err != nil {
		return s.explain("delete", name, err)
	}
	defer unlock()
	s.handles.drop(name)
	if err := os.Remove(path); err != nil && !isMissing(err) {
		return s.explain("delete", name, err)
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return s.explain("delete", name, err)
	}
	return nil
}

func (s *Store) begin(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return blob.CheckName(name)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// explain says what was being done to which object of which store, and what helps.
func (s *Store) explain(op, name string, err error) error {
	if isMissing(err) && op != "create" && op != "put" { // there it is a folder that is missing, or in the way
		err = blob.ErrNotFound
	}
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrExists), errors.Is(err, blob.ErrChanged),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	var known *dr.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	err = fmt.Errorf("%s %s: %w", op, name, err)
	switch {
	case isNoSpace(err):
		return dr.WithHint(err, dr.KindUnavailable, fmt.Sprintf("free space on the file system of %s, or raise its quota", s.dir))
	case errors.Is(err, fs.ErrPermission):
		return dr.WithHint(err, dr.KindUnavailable, fmt.Sprintf("give the user that runs understudy access to %s", s.dir))
	case isReadOnly(err):
		return dr.WithHint(err, dr.KindUnavailable, fmt.Sprintf("mount the file system of %s writable", s.dir))
	case isIO(err):
		return dr.WithHint(err, dr.KindUnavailable, fmt.Sprintf("check that the file system of %s is mounted and healthy", s.dir))
	}
	return err
}
