package file

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"time"
)

// Locks of a store: the main one, and a few that mutable objects share by their names.
const (
	lockMain  = 0
	lockCount = 1 + 16
)

func lockOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return 1 + int(h.Sum32()%(lockCount-1))
}

func (s *Store) lockPath(n int) string {
	name := "lock"
	if n != lockMain {
		name = fmt.Sprintf("lock-%x", n-1)
	}
	return filepath.Join(s.dir, own, name)
}

// lock takes a lock among all goroutines and processes that use the store, waiting until ctx ends.
func (s *Store) lock(ctx context.Context, n int) (unlock func(), err error) {
	select {
	case s.locks[n] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := s.lockFile(ctx, n)
	if err != nil {
		<-s.locks[n]
		return nil, err
	}
	return func() {
		f.Close() // releases the lock
		<-s.locks[n]
	}, nil
}

func (s *Store) lockFile(ctx context.Context, n int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(s.dir, own), dirMode); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.lockPath(n), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	// Asked again and again, because a call that waits for a file lock cannot be ended by a context.
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		ok, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if ok {
			return f, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for %s: %w", f.Name(), ctx.Err())
		}
	}
}
