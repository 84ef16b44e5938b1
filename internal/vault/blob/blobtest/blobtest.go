// Package blobtest is the contract of blob.Store as tests. Every kind of store passes it.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// Run tests a kind of store. open returns an empty store, and closes what it must by t.Cleanup.
func Run(t *testing.T, open func(t testing.TB) blob.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, blob.Store)
	}{
		{"create", testCreate},
		{"create is exclusive", testExclusive},
		{"create of a failing reader", testFailingReader},
		{"create is seen whole", testVisibility},
		{"create of a large object", testLarge},
		{"read ranges", testRanges},
		{"list", testList},
		{"list many", testListMany},
		{"delete", testDelete},
		{"names", testNames},
		{"tagged", testTagged},
		{"tagged race", testTaggedRace},
		{"cancel", testCancel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(t testing.TB, s blob.Store, name, data string) {
	t.Helper()
	if _, err := s.Create(t.Context(), name, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s blob.Store, name string) string {
	t.Helper()
	info, err := s.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, info.Size)
	if err := s.ReadAt(t.Context(), name, p, 0); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func list(t testing.TB, s blob.Store, prefix string) []string {
	t.Helper()
	var names []string
	if err := s.List(t.Context(), prefix, func(i blob.Info) error {
		names = append(names, i.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

// wantErr wants an error of a kind that says which object it concerns.
func wantErr(t testing.TB, err, target error, name string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got error %v, want %v", err, target)
	} else if !strings.Contains(err.Error(), name) {
		t.Errorf("error %q does not name %s", err, name)
	}
}

func testCreate(t *testing.T, s blob.Store) {
	ctx := t.Context()
	const name = "g/shop/p/1-00000000000000000042"
	info, err := s.Create(ctx, name, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != name || info.Size != 5 || info.Modified.IsZero() {
		t.Errorf("created %+v", info)
	}
	if got, err := s.Stat(ctx, name); err != nil || got.Name != name || got.Size != 5 || got.Modified.IsZero() {
		t.Errorf("stat %+v, %v", got, err)
	}
	if got := get(t, s, name); got != "hello" {
		t.Errorf("read %q", got)
	}
	_, err = s.Create(ctx, name, strings.NewReader("other"))
	wantErr(t, err, blob.ErrExists, name)
	if got := get(t, s, name); got != "hello" {
		t.Errorf("read %q after a second create", got)
	}
	put(t, s, "empty", "")
	if got := get(t, s, "empty"); got != "" {
		t.Errorf("read %q from an empty object", got)
	}
	_, err = s.Stat(ctx, "none")
	wantErr(t, err, blob.ErrNotFound, "none")
	wantErr(t, s.ReadAt(ctx, "none", make([]byte, 1), 0), blob.ErrNotFound, "none")
	// A folder is no object.
	_, err = s.Stat(ctx, "g/shop")
	wantErr(t, err, blob.ErrNotFound, "g/shop")
	wantErr(t, s.ReadAt(ctx, "g/shop", make([]byte, 1), 0), blob.ErrNotFound, "g/shop")
	_, _, err = s.GetTagged(ctx, "g/shop")
	wantErr(t, err, blob.ErrNotFound, "g/shop")
}

func testExclusive(t *testing.T, s blob.Store) {
	const writers = 16
	for round := range 5 {
		name := fmt.Sprintf("r/%d", round)
		start := make(chan struct{})
		won := make([]bool, writers)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				<-start
				_, err := s.Create(t.Context(), name, strings.NewReader(strings.Repeat(string(rune('a'+w)), 5000)))
				won[w] = err == nil
				if err != nil && !errors.Is(err, blob.ErrExists) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		winner := slices.Index(won, true)
		if winner < 0 || slices.Contains(won[winner+1:], true) {
			t.Fatalf("winners: %v", won)
		}
		if got := get(t, s, name); got != strings.Repeat(string(rune('a'+winner)), 5000) {
			t.Errorf("object is not what writer %d wrote", winner)
		}
	}
}

func testFailingReader(t *testing.T, s blob.Store) {
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 100_000, 3 << 20} {
		r := io.MultiReader(bytes.NewReader(make([]byte, n)), errReader{broken})
		_, err := s.Create(t.Context(), "a/b", r)
		wantErr(t, err, broken, "a/b")
		_, err = s.Stat(t.Context(), "a/b")
		wantErr(t, err, blob.ErrNotFound, "a/b")
		if names := list(t, s, ""); len(names) != 0 {
			t.Errorf("listed %v", names)
		}
	}
	put(t, s, "a/b", "x")
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func testVisibility(t *testing.T, s blob.Store) {
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := s.Create(t.Context(), "slow/object", r)
		done <- err
	}()
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Stat(t.Context(), "slow/object")
	wantErr(t, err, blob.ErrNotFound, "slow/object")
	if names := list(t, s, ""); len(names) != 0 {
		t.Errorf("listed %v", names)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if info, err := s.Stat(t.Context(), "slow/object"); err != nil || info.Size != 1<<20 {
		t.Errorf("%+v, %v", info, err)
	}
}

func testLarge(t *testing.T, s blob.Store) {
	const size = 48 << 20
	seed := [32]byte{1}
	_, inMemory := s.(interface{ InMemory() })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	info, err := s.Create(t.Context(), "large", io.LimitReader(rand.NewChaCha8(seed), size))
	if err != nil || info.Size != size {
		t.Fatal(info, err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; !inMemory && got > size/2 {
		t.Errorf("allocated %d bytes to store %d", got, size)
	}
	r, want, got := rand.NewChaCha8(seed), make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(got)) {
		if _, err := io.ReadFull(r, want); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadAt(t.Context(), "large", got, off); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("differs after %d", off)
		}
	}
}

func testRanges(t *testing.T, s blob.Store) {
	put(t, s, "r", "0123456789")
	for _, c := range []struct {
		off  int64
		n    int
		want string
		err  bool
	}{{0, 10, "0123456789", false}, {3, 4, "3456", false}, {9, 1, "9", false}, {10, 0, "", false}, {0, 0, "", false},
		{9, 2, "", true}, {10, 1, "", true}, {1 << 40, 1, "", true}} {
		p := make([]byte, c.n)
		err := s.ReadAt(t.Context(), "r", p, c.off)
		switch {
		case c.err:
			wantErr(t, err, io.ErrUnexpectedEOF, "r")
		case err != nil || string(p) != c.want:
			t.Errorf("%d at %d: %q, %v", c.n, c.off, p, err)
		}
	}
	if err := s.ReadAt(t.Context(), "r", make([]byte, 1), -1); err == nil {
		t.Error("read at a negative offset")
	}
	var wg sync.WaitGroup
	for i := range int64(10) {
		wg.Go(func() {
			p := make([]byte, 1)
			for range 50 {
				if err := s.ReadAt(t.Context(), "r", p, i); err != nil || p[0] != byte('0'+i) {
					t.Error(string(p), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testList(t *testing.T, s blob.Store) {
	// Bytes below and above '/' next to folders: the order is that of whole names.
	names := []string{"a-b", "a.b", "a/a", "a/b-c", "a/b.c", "a/b/c", "a/c", "a0", "a_", "ab", "b/1-9", "b/10", "z/y/x/w"}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(names)) {
		put(t, s, names[i], "12345")
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b.", "a-", "z/y/x/w", "z/y/x/w/", "z/y/x/wv", "none/", "b/1-"} {
		var want []string
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		if got := list(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q: %v, want %v", prefix, got, want)
		}
	}
	stop := errors.New("stop")
	n := 0
	if err := s.List(t.Context(), "", func(i blob.Info) error {
		if n++; i.Size != 5 || i.Modified.IsZero() {
			t.Errorf("listed %+v", i)
		}
		if n == 3 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) || n != 3 {
		t.Errorf("%v after %d", err, n)
	}
	if err := s.List(t.Context(), "../", func(blob.Info) error { return nil }); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("prefix outside of the store: %v", err)
	}
	// A callback may use the store.
	if err := s.List(t.Context(), "b/", func(i blob.Info) error { return s.Delete(t.Context(), i.Name) }); err != nil {
		t.Error(err)
	}
	if got := list(t, s, "b/"); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func testListMany(t *testing.T, s blob.Store) {
	const n = 2100 // more than two pages of the usual object stores
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				if _, err := s.Create(t.Context(), fmt.Sprintf("m/%06d", i), strings.NewReader("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := list(t, s, "m/")
	if len(got) != n || !slices.IsSorted(got) {
		t.Errorf("listed %d of %d, sorted: %v", len(got), n, slices.IsSorted(got))
	}
}

func testDelete(t *testing.T, s blob.Store) {
	put(t, s, "a/b", "one")
	if got := get(t, s, "a/b"); got != "one" {
		t.Error(got)
	}
	for range 2 {
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "none/of/it", "a/b/c"} {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	_, err := s.Stat(t.Context(), "a/b")
	wantErr(t, err, blob.ErrNotFound, "a/b")
	wantErr(t, s.ReadAt(t.Context(), "a/b", make([]byte, 1), 0), blob.ErrNotFound, "a/b")
	put(t, s, "a/b", "two")
	if got := get(t, s, "a/b"); got != "two" {
		t.Errorf("read %q of an object made again", got)
	}
}

func testNames(t *testing.T, s blob.Store) {
	for _, name := range []string{"", "/", "/a", "a/", "../a", "a/../../b", ".store/lock", "A", "a b", "a\\b", "a\x00b"} {
		_, create := s.Create(t.Context(), name, strings.NewReader("x"))
		_, stat := s.Stat(t.Context(), name)
		_, _, tagged := s.GetTagged(t.Context(), name)
		_, swap := s.PutTagged(t.Context(), name, nil, "")
		read := s.ReadAt(t.Context(), name, make([]byte, 1), 0)
		for op, err := range map[string]error{"create": create, "stat": stat, "get": tagged, "put": swap, "read": read, "delete": s.Delete(t.Context(), name)} {
			if dr.KindOf(err) != dr.KindInvalid {
				t.Errorf("%s %q: %v", op, name, err)
			}
		}
	}
}

func testTagged(t *testing.T, s blob.Store) {
	ctx := t.Context()
	const name = "g/shop/owner"
	_, _, err := s.GetTagged(ctx, name)
	wantErr(t, err, blob.ErrNotFound, name)
	_, err = s.PutTagged(ctx, name, []byte("x"), "stale")
	wantErr(t, err, blob.ErrChanged, name)
	one, err := s.PutTagged(ctx, name, []byte("one"), "")
	if err != nil || one == "" {
		t.Fatal(one, err)
	}
	_, err = s.PutTagged(ctx, name, []byte("x"), "")
	wantErr(t, err, blob.ErrChanged, name)
	data, tag, err := s.GetTagged(ctx, name)
	if err != nil || string(data) != "one" || tag != one {
		t.Errorf("%q %q %v", data, tag, err)
	}
	data[0] = 'X' // the caller's own
	two, err := s.PutTagged(ctx, name, []byte("two"), one)
	if err != nil {
		t.Fatal(err)
	}
	// Back to older data is a new version all the same.
	three, err := s.PutTagged(ctx, name, []byte("one"), two)
	if err != nil || three == one {
		t.Fatal(three, err)
	}
	for _, old := range []string{one, two} {
		_, err = s.PutTagged(ctx, name, []byte("x"), old)
		wantErr(t, err, blob.ErrChanged, name)
	}
	if data, tag, err := s.GetTagged(ctx, name); err != nil || string(data) != "one" || tag != three {
		t.Errorf("%q %q %v", data, tag, err)
	}
	if got := list(t, s, "g/"); !slices.Equal(got, []string{name}) {
		t.Errorf("listed %v", got)
	}
	_, err = s.Create(ctx, name, strings.NewReader("x"))
	wantErr(t, err, blob.ErrExists, name)
	if err := s.Delete(ctx, name); err != nil {
		t.Fatal(err)
	}
	_, err = s.PutTagged(ctx, name, []byte("x"), three)
	wantErr(t, err, blob.ErrChanged, name)

	full := bytes.Repeat([]byte("\n"), blob.MaxTagged)
	tag, err = s.PutTagged(ctx, name, full, "")
	if err != nil {
		t.Fatal(err)
	}
	if data, _, err := s.GetTagged(ctx, name); err != nil || !bytes.Equal(data, full) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := s.PutTagged(ctx, name, append(full, 0), tag); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("too large: %v", err)
	}
	if _, err := s.PutTagged(ctx, "e", nil, ""); err != nil {
		t.Fatal(err)
	}
	if data, _, err := s.GetTagged(ctx, "e"); err != nil || len(data) != 0 {
		t.Errorf("%q %v", data, err)
	}
	put(t, s, "plain", "x")
	if _, _, err := s.GetTagged(ctx, "plain"); err == nil {
		t.Error("got an immutable object as a tagged one")
	}
}

// Of all who replace one version, one succeeds: counting by compare-and-swap loses nothing.
func testTaggedRace(t *testing.T, s blob.Store) {
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				data, tag, err := s.GetTagged(t.Context(), "count")
				if err != nil && !errors.Is(err, blob.ErrNotFound) {
					t.Error(err)
					return
				}
				switch _, err = s.PutTagged(t.Context(), "count", append(data, 'x'), tag); {
				case err == nil:
					n++
				case !errors.Is(err, blob.ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if data, _, err := s.GetTagged(t.Context(), "count"); err != nil || len(data) != writers*each {
		t.Errorf("counted %d of %d, %v", len(data), writers*each, err)
	}
}

func testCancel(t *testing.T, s blob.Store) {
	put(t, s, "a", "x")
	tag, err := s.PutTagged(t.Context(), "t", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	// Cancelled while it reads.
	_, err = s.Create(ctx, "b", io.MultiReader(strings.NewReader("x"), cancelReader(cancel), bytes.NewReader(make([]byte, 1<<20))))
	wantErr(t, err, context.Canceled, "b")
	_, err = s.Create(ctx, "b", strings.NewReader("x"))
	wantErr(t, err, context.Canceled, "b")
	_, err = s.Stat(ctx, "a")
	wantErr(t, err, context.Canceled, "a")
	wantErr(t, s.ReadAt(ctx, "a", make([]byte, 1), 0), context.Canceled, "a")
	wantErr(t, s.Delete(ctx, "a"), context.Canceled, "a")
	wantErr(t, s.List(ctx, "", func(blob.Info) error { return nil }), context.Canceled, "")
	_, _, err = s.GetTagged(ctx, "t")
	wantErr(t, err, context.Canceled, "t")
	_, err = s.PutTagged(ctx, "t", nil, tag)
	wantErr(t, err, context.Canceled, "t")
	if got := list(t, s, ""); !slices.Equal(got, []string{"a", "t"}) {
		t.Errorf("left: %v", got)
	}
}

type cancelReader context.CancelFunc

func (c cancelReader) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}
