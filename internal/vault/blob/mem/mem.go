// Package mem keeps objects in memory: a blob.Store for tests and for trying things out. What it holds ends with the
// process.
package mem

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// A Store is a blob.Store in memory. Make one with New.
type Store struct {
	// Now is the clock of locks; time.Now when nil. Set it before use.
	Now func() time.Time

	mu       sync.RWMutex
	objects  map[string]object
	versions uint64 // of tagged objects, so that a tag is never given twice
}

type object struct {
	data     []byte
	modified time.Time
	tag      string // empty for an immutable object
	locked   blob.Lock
}

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Locker = (*Store)(nil)
)

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	return s.CreateLocked(ctx, name, r, blob.Lock{})
}

// CreateLocked implements blob.Locker.
func (s *Store) CreateLocked(ctx context.Context, name string, r io.Reader, l blob.Lock) (blob.Info, error) {
	if err := blob.CheckName(name); err != nil {
		return blob.Info{}, err
	}
	data, err := io.ReadAll(reader{ctx, r})
	if err != nil {
		return blob.Info{}, fmt.Errorf("create %s: %w", name, err)
	}
	if err := ctx.Err(); err != nil {
		return blob.Info{}, fmt.Errorf("create %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok {
		return blob.Info{}, fmt.Errorf("create %s: %w", name, blob.ErrExists)
	}
	o := object{data: data, modified: time.Now(), locked: l}
	s.objects[name] = o
	return o.info(name), nil
}

// ReadAt implements blob.Store.
func (s *Store) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	o, err := s.get(ctx, "read", name)
	if err != nil {
		return err
	}
	if off < 0 {
		return dr.WithHint(fmt.Errorf("read %s: negative offset %d", name, off), dr.KindInvalid, "")
	}
	if off > int64(len(o.data)) || copy(p, o.data[off:]) < len(p) {
		return fmt.Errorf("read %s: %d bytes at %d of %d: %w", name, len(p), off, len(o.data), io.ErrUnexpectedEOF)
	}
	return nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	o, err := s.get(ctx, "stat", name)
	if err != nil {
		return blob.Info{}, err
	}
	return o.info(name), nil
}

// List implements blob.Store. It shows the objects of the moment when it was called.
func (s *Store) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if err := blob.CheckPrefix(prefix); err != nil {
		return err
	}
	s.mu.RLock()
	var found []blob.Info
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			found = append(found, o.info(name))
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	for _, i := range found {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

func (s *Store) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Lock implements blob.Locker.
func (s *Store) Lock(ctx context.Context, name string, l blob.Lock) error {
	if _, err := s.get(ctx, "lock", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[name]
	if l.Until.After(o.locked.Until) {
		o.locked = l
	}
	s.objects[name] = o
	return nil
}

// LockedUntil implements blob.Locker.
func (s *Store) LockedUntil(ctx context.Context, name string) (time.Time, error) {
	o, err := s.get(ctx, "stat", name)
	return o.locked.Until, err
}

// Purge implements blob.Locker.
func (s *Store) Purge(ctx context.Context, name string) error {
	if o, err := s.get(ctx, "purge", name); err == nil && o.locked.Until.After(s.now()) {
		return fmt.Errorf("purge %s: %w", name, blob.ErrLocked)
	}
	return s.Delete(ctx, name)
}

// GetTagged implements blob.Store.
func (s *Store) GetTagged(ctx context.Context, name string) ([]byte, string, error) {
	o, err := s.get(ctx, "get", name)
	if err != nil {
		return nil, "", err
	}
	if o.tag == "" {
		return nil, "", dr.WithHint(fmt.Errorf("get %s: not a tagged object", name), dr.KindCorrupt, "")
	}
	return slices.Clone(o.data), o.tag, nil
}

// PutTagged implements blob.Store.
func (s *Store) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	if err := blob.CheckName(name); err != nil {
		return "", err
	}
	if len(data) > blob.MaxTagged {
		return "", dr.WithHint(fmt.Errorf("put %s: %d bytes, more than a tagged object holds (%d)", name, len(data), blob.MaxTagged), dr.KindInvalid, "")
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("put %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if ok != (tag != "") || o.tag != tag {
		return "", fmt.Errorf("put %s: %w", name, blob.ErrChanged)
	}
	s.versions++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, s.versions))
	o = object{data: slices.Clone(data), modified: time.Now(), tag: hex.EncodeToString(sum[:16])}
	s.objects[name] = o
	return o.tag, nil
}

func (s *Store) get(ctx context.Context, op, name string) (object, error) {
	if err := blob.CheckName(name); err != nil {
		return object{}, err
	}
	if err := ctx.Err(); err != nil {
		return object{}, fmt.Errorf("%s %s: %w", op, name, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects[name]
	if !ok {
		return object{}, fmt.Errorf("%s %s: %w", op, name, blob.ErrNotFound)
	}
	return o, nil
}

func (o object) info(name string) blob.Info {
	return blob.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}
}

// reader stops when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// InMemory marks the store as one whose objects are the process's memory.
func (s *Store) InMemory() {}
