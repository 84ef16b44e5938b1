// Package faulty breaks a blob.Store on purpose: a test says which calls go wrong, and how, and gets the same faults
// each time. It counts calls, so that a test can first run well, then once more for each call with a crash there:
//
//	s := faulty.New(mem.New())
//	work(s)
//	for n := 1; n <= s.Calls(faulty.Any); n++ {
//		inner := mem.New()
//		work(faulty.New(inner, faulty.Fault{N: n, Effect: faulty.Crash}))
//		check(inner)
//	}
package faulty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// Errors of injected faults, wrapped.
var (
	// ErrInjected is in every error that a fault made.
	ErrInjected = errors.New("injected fault")
	// ErrCrashed is what every call returns after a crash.
	ErrCrashed = fmt.Errorf("store is gone after a crash: %w", ErrInjected)
)

// An Op is a kind of call.
type Op string

// Kinds of call. Any stands for all of them.
const (
	Any       Op = ""
	Create    Op = "create"
	ReadAt    Op = "read"
	Stat      Op = "stat"
	List      Op = "list"
	Delete    Op = "delete"
	GetTagged Op = "get"
	PutTagged Op = "put"
	Lock      Op = "lock" // and asking until when
)

// An Effect is how a call goes wrong.
type Effect int

// Effects.
const (
	// Fail returns an error and does nothing.
	Fail Effect = iota
	// Short takes Bytes bytes of what Create is given, then fails; of any other call it is Fail.
	Short
	// NoSpace is Short with the error of a full disk, as the file store gives it.
	NoSpace
	// Lost carries the call out and returns an error all the same.
	Lost
	// Slow carries the call out after Delay, or when Until is closed, or fails when the context ends before.
	Slow
	// Flip carries the call out and flips bit Bit of the bytes read. Only ReadAt and GetTagged read.
	Flip
	// Crash does nothing; this call and all later ones fail with ErrCrashed.
	Crash
	// CrashAfter carries the call out; it and all later ones fail with ErrCrashed.
	CrashAfter
)

// A Fault says which calls go wrong, and how.
type Fault struct {
	Op     Op     // kind of call, or Any
	Prefix string // only calls on names (or listings of prefixes) that begin so
	N      int    // the first call that goes wrong, of those that match, from 1; 0 means 1
	Times  int    // how many go wrong; 0 means 1, negative means all from N on
	Effect Effect

	Err   error           // returned, wrapped, in place of the plain ErrInjected
	Bytes int64           // Short, NoSpace: bytes of the object that are taken before the error
	Bit   int64           // Flip: which bit, modulo the bits read
	Delay time.Duration   // Slow
	Until <-chan struct{} // Slow
}

// A Call is one call that the store was asked for.
type Call struct {
	Op   Op
	Name string // or the prefix of a listing
}

// A Store is a blob.Store with faults. Make one with New.
type Store struct {
	inner blob.Store

	mu      sync.Mutex
	faults  []*planned
	calls   []Call
	crashed bool
}

type planned struct {
	Fault
	seen int // calls that matched
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Locker = (*Store)(nil)
)

// New wraps a store. When several faults meet in a call, the first in the plan happens; all of them count it.
func New(inner blob.Store, plan ...Fault) *Store {
	s := &Store{inner: inner}
	s.Plan(plan...)
	return s
}

// Plan replaces the plan, counts calls from none again and undoes a crash.
func (s *Store) Plan(plan ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.calls, s.crashed = nil, nil, false
	for _, f := range plan {
		f.N = max(f.N, 1)
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &planned{Fault: f})
	}
}

// Calls is how many calls of a kind were made since the plan was set, those that went wrong included.
func (s *Store) Calls(op Op) int {
	n := 0
	for _, c := range s.Log() {
		if op == Any || c.Op == op {
			n++
		}
	}
	return n
}

// Log is the calls since the plan was set, in order.
func (s *Store) Log() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Crashed reports whether a crash of the plan has happened.
func (s *Store) Crashed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crashed
}

// next counts a call and returns the fault that it meets, or nil.
func (s *Store) next(op Op, name string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{op, name})
	if s.crashed {
		return &Fault{Effect: Fail, Err: ErrCrashed}
	}
	var met *Fault
	for _, f := range s.faults {
		if f.Op != Any && f.Op != op || !strings.HasPrefix(name, f.Prefix) {
			continue
		}
		f.seen++
		if met == nil && f.seen >= f.N && (f.Times < 0 || f.seen < f.N+f.Times) {
			met = &f.Fault
		}
	}
	if met != nil && (met.Effect == Crash || met.Effect == CrashAfter) {
		s.crashed = true
	}
	return met
}

// run makes a call of the inner store go as the plan says. call must be ready to be left out.
func (s *Store) run(ctx context.Context, op Op, name string, call func(*Fault) error) error {
	f := s.next(op, name)
	if f == nil {
		return call(nil)
	}
	switch f.Effect {
	case Slow:
		if err := f.wait(ctx); err != nil {
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
		return call(nil)
	case Flip:
		return call(f)
	case Short, NoSpace:
		if op == Create {
			return call(f)
		}
	case Lost, CrashAfter:
		if err := call(nil); err != nil {
			return err
		}
	}
	return f.error(op, name)
}

func (f *Fault) wait(ctx context.Context) error {
	var elapsed <-chan time.Time
	if f.Delay > 0 || f.Until == nil {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-elapsed:
	case <-f.Until:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (f *Fault) error(op Op, name string) error {
	cause := f.Err
	switch {
	case f.Effect == Crash || f.Effect == CrashAfter:
		cause = ErrCrashed
	case f.Effect == NoSpace:
		return dr.WithHint(fmt.Errorf("%s %s: %w (%w)", op, name, syscall.ENOSPC, ErrInjected), dr.KindUnavailable, "free space on the file system")
	case cause == nil:
		cause = ErrInjected
	case !errors.Is(cause, ErrInjected):
		cause = fmt.Errorf("%w (%w)", cause, ErrInjected)
	}
	return fmt.Errorf("%s %s: %w", op, name, cause)
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	return s.create(ctx, name, r, s.inner.Create)
}

func (s *Store) create(ctx context.Context, name string, r io.Reader, create func(context.Context, string, io.Reader) (blob.Info, error)) (info blob.Info, err error) {
	err = s.run(ctx, Create, name, func(f *Fault) error {
		if f != nil {
			// The inner store sees its input break off, as when the writer's disk or line fails.
			r = io.MultiReader(io.LimitReader(r, f.Bytes), broken{f.error(Create, name)})
		}
		var err error
		info, err = create(ctx, name, r)
		return err
	})
	if err != nil {
		return blob.Info{}, err
	}
	return info, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// ReadAt implements blob.Store.
func (s *Store) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	return s.run(ctx, ReadAt, name, func(f *Fault) error {
		err := s.inner.ReadAt(ctx, name, p, off)
		if err == nil {
			f.flip(p)
		}
		return err
	})
}

func (f *Fault) flip(p []byte) {
	if f != nil && len(p) > 0 {
		bit := uint64(f.Bit) % uint64(len(p)*8)
		p[bit/8] ^= 1 << (bit % 8)
	}
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = s.run(ctx, Stat, name, func(*Fault) error {
		var err error
		info, err = s.inner.Stat(ctx, name)
		return err
	})
	if err != nil {
		return blob.Info{}, err
	}
	return info, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	return s.run(ctx, List, prefix, func(*Fault) error { return s.inner.List(ctx, prefix, fn) })
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.run(ctx, Delete, name, func(*Fault) error { return s.inner.Delete(ctx, name) })
}

// GetTagged implements blob.Store.
func (s *Store) GetTagged(ctx context.Context, name string) (data []byte, tag string, err error) {
	err = s.run(ctx, GetTagged, name, func(f *Fault) error {
		var err error
		data, tag, err = s.inner.GetTagged(ctx, name)
		if err == nil {
			data = bytes.Clone(data)
			f.flip(data)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, tag, nil
}

// PutTagged implements blob.Store.
func (s *Store) PutTagged(ctx context.Context, name string, data []byte, tag string) (newTag string, err error) {
	err = s.run(ctx, PutTagged, name, func(*Fault) error {
		var err error
		newTag, err = s.inner.PutTagged(ctx, name, data, tag)
		return err
	})
	if err != nil {
		return "", err
	}
	return newTag, nil
}

// CreateLocked implements blob.Locker, as a Create.
func (s *Store) CreateLocked(ctx context.Context, name string, r io.Reader, l blob.Lock) (blob.Info, error) {
	locker, err := blob.AsLocker(s.inner)
	if err != nil {
		return blob.Info{}, err
	}
	return s.create(ctx, name, r, func(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
		return locker.CreateLocked(ctx, name, r, l)
	})
}

// Lock implements blob.Locker.
func (s *Store) Lock(ctx context.Context, name string, l blob.Lock) error {
	locker, err := blob.AsLocker(s.inner)
	if err != nil {
		return err
	}
	return s.run(ctx, Lock, name, func(*Fault) error { return locker.Lock(ctx, name, l) })
}

// LockedUntil implements blob.Locker.
func (s *Store) LockedUntil(ctx context.Context, name string) (until time.Time, err error) {
	locker, err := blob.AsLocker(s.inner)
	if err != nil {
		return until, err
	}
	err = s.run(ctx, Lock, name, func(*Fault) error {
		var err error
		until, err = locker.LockedUntil(ctx, name)
		return err
	})
	return until, err
}

// Purge implements blob.Locker, as a Delete.
func (s *Store) Purge(ctx context.Context, name string) error {
	locker, err := blob.AsLocker(s.inner)
	if err != nil {
		return err
	}
	return s.run(ctx, Delete, name, func(*Fault) error { return locker.Purge(ctx, name) })
}
