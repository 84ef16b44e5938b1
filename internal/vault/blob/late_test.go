package blob_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/blobtest"
	"understudy/internal/vault/blob/mem"
)

type inMemory struct{ *blob.Late }

func (inMemory) InMemory() {}

func TestLateConformance(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store {
		return inMemory{blob.NewLate(func() (blob.Store, error) { return mem.New(), nil }, nil)}
	})
}

func TestLate(t *testing.T) {
	away, opened := errors.New("away"), 0
	block := make(chan struct{})
	open := func() (blob.Store, error) { <-block; return nil, away }
	l := blob.NewLate(func() (blob.Store, error) { opened++; return open() }, map[string][]byte{"a": []byte("known")})
	p := make([]byte, 3)
	if err := l.ReadAt(t.Context(), "a", p, 2); err != nil || string(p) != "own" {
		t.Errorf("%q, %v", p, err)
	}
	if i, err := l.Stat(t.Context(), "a"); err != nil || i.Size != 5 || opened != 0 {
		t.Errorf("%+v, %v; opened %d times", i, err, opened)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Stat(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it opens: %v", err)
	}
	close(block)
	if _, err := l.Stat(t.Context(), "b"); !errors.Is(err, away) {
		t.Errorf("while it is away: %v", err)
	}
	open = func() (blob.Store, error) { return mem.New(), nil }
	for range 2 {
		if _, err := l.Stat(t.Context(), "b"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("when it is there: %v", err)
		}
	}
	if opened != 2 {
		t.Errorf("opened %d times", opened)
	}
}
