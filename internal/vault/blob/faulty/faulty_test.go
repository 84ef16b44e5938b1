package faulty_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
)

// inMemory passes on that the store below allocates what it holds.
type inMemory struct{ *faulty.Store }

func (inMemory) InMemory() {}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store { return inMemory{faulty.New(mem.New())} })
}

func create(s blob.Store, name, data string) error {
	_, err := s.Create(context.Background(), name, strings.NewReader(data))
	return err
}

func exists(t *testing.T, s blob.Store, name string) bool {
	t.Helper()
	_, err := s.Stat(t.Context(), name)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestNthCall(t *testing.T) {
	inner := mem.New()
	s := faulty.New(inner, faulty.Fault{Op: faulty.Create, Prefix: "p/", N: 2, Times: 2, Err: io.ErrClosedPipe})
	var got string
	for _, name := range []string{"q/1", "p/1", "p/2", "q/2", "p/3", "p/4"} {
		if err := create(s, name, "x"); err == nil {
			got += name + " "
		} else if !errors.Is(err, faulty.ErrInjected) || !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}
	if got != "q/1 p/1 q/2 p/4 " || exists(t, inner, "p/2") {
		t.Error(got)
	}
	if s.Calls(faulty.Create) != 6 || s.Calls(faulty.Any) != 6 || s.Calls(faulty.List) != 0 {
		t.Error(s.Log())
	}
}

func TestEffects(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  faulty.Fault
		err    error
		exists bool
	}{
		{"fail", faulty.Fault{Effect: faulty.Fail}, faulty.ErrInjected, false},
		{"short", faulty.Fault{Effect: faulty.Short, Bytes: 3}, faulty.ErrInjected, false},
		{"no space", faulty.Fault{Effect: faulty.NoSpace, Bytes: 3}, syscall.ENOSPC, false},
		{"lost", faulty.Fault{Effect: faulty.Lost}, faulty.ErrInjected, true},
		{"crash", faulty.Fault{Effect: faulty.Crash}, faulty.ErrCrashed, false},
		{"crash after", faulty.Fault{Effect: faulty.CrashAfter}, faulty.ErrCrashed, true},
		{"slow", faulty.Fault{Effect: faulty.Slow}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := mem.New()
			s := faulty.New(inner, c.fault)
			if err := create(s, "a", "hello"); !errors.Is(err, c.err) {
				t.Error(err)
			}
			if got := exists(t, inner, "a"); got != c.exists {
				t.Errorf("exists: %v", got)
			}
			if crashed := errors.Is(c.err, faulty.ErrCrashed); crashed != s.Crashed() || crashed != errors.Is(create(s, "b", ""), faulty.ErrCrashed) {
				t.Error("wrong after a crash")
			}
		})
	}
	err := create(faulty.New(mem.New(), faulty.Fault{Effect: faulty.NoSpace}), "a", "x")
	if dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" || !errors.Is(err, faulty.ErrInjected) {
		t.Error(err)
	}
}

func TestLostSwap(t *testing.T) {
	s := faulty.New(mem.New(), faulty.Fault{Op: faulty.PutTagged, Effect: faulty.Lost})
	if tag, err := s.PutTagged(t.Context(), "o", []byte("x"), ""); !errors.Is(err, faulty.ErrInjected) || tag != "" {
		t.Error(tag, err)
	}
	if data, _, err := s.GetTagged(t.Context(), "o"); err != nil || string(data) != "x" {
		t.Error(data, err)
	}
}

func TestFlip(t *testing.T) {
	inner := mem.New()
	s := faulty.New(inner, faulty.Fault{Op: faulty.ReadAt, Effect: faulty.Flip, Bit: 9, Times: -1})
	if err := create(s, "a", "\x00\x00"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p := make([]byte, 2)
		if err := s.ReadAt(t.Context(), "a", p, 0); err != nil || string(p) != "\x00\x02" {
			t.Errorf("%x %v", p, err)
		}
	}
	p := make([]byte, 2)
	if err := inner.ReadAt(t.Context(), "a", p, 0); err != nil || string(p) != "\x00\x00" {
		t.Errorf("%x %v", p, err)
	}
}

func TestSlow(t *testing.T) {
	gate := make(chan struct{})
	s := faulty.New(mem.New(), faulty.Fault{Effect: faulty.Slow, Until: gate, Times: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(ctx, "a", strings.NewReader("")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	done := make(chan error)
	go func() { done <- create(s, "a", "") }()
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Plan()
	if s.Calls(faulty.Any) != 0 || create(s, "b", "") != nil {
		t.Error("plan not replaced")
	}
}
