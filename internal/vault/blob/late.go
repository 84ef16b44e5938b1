package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Late store is opened when it is first needed, so that who uses it can begin while it is away. Until it was opened,
// what is called fails with the error of opening.
type Late struct {
	open  func() (Store, error)
	known map[string][]byte

	mu      sync.Mutex
	store   Store
	opening *opening
}

type opening struct {
	done chan struct{}
	err  error
}

var (
	_ Store  = (*Late)(nil)
	_ Locker = (*Late)(nil)
)

// NewLate returns a store that open opens, in bounded time. Objects that are known, which must never change, are answered
// without it.
func NewLate(open func() (Store, error), known map[string][]byte) *Late {
	return &Late{open: open, known: known}
}

// get opens the store, or waits until somebody has.
func (l *Late) get(ctx context.Context) (Store, error) {
	l.mu.Lock()
	if l.store != nil {
		defer l.mu.Unlock()
		return l.store, nil
	}
	o := l.opening
	if o == nil {
		o = &opening{done: make(chan struct{})}
		l.opening = o
		go l.run(o) // ends with open, which bounds its time
	}
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("open store: %w", ctx.Err())
	case <-o.done:
	}
	if o.err != nil {
		return nil, o.err
	}
	return l.get(ctx)
}

func (l *Late) run(o *opening) {
	store, err := l.open()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store, l.opening, o.err = store, nil, err
	if err != nil {
		l.store = nil
	}
	close(o.done)
}

// Create implements Store.
func (l *Late) Create(ctx context.Context, name string, r io.Reader) (Info, error) {
	s, err := l.get(ctx)
	if err != nil {
		return Info{}, err
	}
	return s.Create(ctx, name, r)
}

// ReadAt implements Store.
func (l *Late) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if data, ok := l.known[name]; ok {
		_, err := io.ReadFull(io.NewSectionReader(bytes.NewReader(data), off, int64(len(p))), p)
		return err
	}
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.ReadAt(ctx, name, p, off)
}

// Stat implements Store. When a known object was made is not known.
func (l *Late) Stat(ctx context.Context, name string) (Info, error) {
	if data, ok := l.known[name]; ok {
		return Info{Name: name, Size: int64(len(data)), Modified: time.Unix(0, 0)}, nil
	}
	s, err := l.get(ctx)
	if err != nil {
		return Info{}, err
	}
	return s.Stat(ctx, name)
}

// List implements Store.
func (l *Late) List(ctx context.Context, prefix string, fn func(Info) error) error {
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.List(ctx, prefix, fn)
}

// Delete implements Store.
func (l *Late) Delete(ctx context.Context, name string) error {
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, name)
}

// GetTagged implements Store.
func (l *Late) GetTagged(ctx context.Context, name string) ([]byte, string, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, "", err
	}
	return s.GetTagged(ctx, name)
}

// PutTagged implements Store.
func (l *Late) PutTagged(ctx context.Context, name string, data []byte, tag string) (string, error) {
	s, err := l.get(ctx)
	if err != nil {
		return "", err
	}
	return s.PutTagged(ctx, name, data, tag)
}

func (l *Late) locker(ctx context.Context) (Locker, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return AsLocker(s)
}

// CreateLocked implements Locker.
func (l *Late) CreateLocked(ctx context.Context, name string, r io.Reader, lock Lock) (Info, error) {
	s, err := l.locker(ctx)
	if err != nil {
		return Info{}, err
	}
	return s.CreateLocked(ctx, name, r, lock)
}

// Lock implements Locker.
func (l *Late) Lock(ctx context.Context, name string, lock Lock) error {
	s, err := l.locker(ctx)
	if err != nil {
		return err
	}
	return s.Lock(ctx, name, lock)
}

// LockedUntil implements Locker.
func (l *Late) LockedUntil(ctx context.Context, name string) (time.Time, error) {
	s, err := l.locker(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return s.LockedUntil(ctx, name)
}

// Purge implements Locker.
func (l *Late) Purge(ctx context.Context, name string) error {
	s, err := l.locker(ctx)
	if err != nil {
		return err
	}
	return s.Purge(ctx, name)
}
