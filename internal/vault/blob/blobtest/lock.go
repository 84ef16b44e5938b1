package blobtest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"understudy/internal/vault/blob"
)

// RunLocks tests a store that can lock objects, whose service does.
func RunLocks(t *testing.T, mode blob.LockMode, open func(t testing.TB) blob.Store) {
	for name, test := range map[string]func(*testing.T, blob.LockMode, blob.Store, blob.Locker){
		"locked": testLocked, "large": testLockedLarge, "ends": testLockEnds, "exclusive": testLockedExclusive, "none": testUnlocked,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			l, err := blob.AsLocker(s)
			if err != nil {
				t.Fatal(err)
			}
			test(t, mode, s, l)
		})
	}
}

func lockFor(mode blob.LockMode, d time.Duration) blob.Lock {
	return blob.Lock{Mode: mode, Until: time.Now().Add(d).UTC().Truncate(time.Second)}
}

// holds wants an object to be locked until a time, and so not to be removed.
func holds(t *testing.T, s blob.Store, l blob.Locker, name, want string, until time.Time) {
	t.Helper()
	if got, err := l.LockedUntil(t.Context(), name); err != nil || got.Before(until) || got.After(until.Add(time.Minute)) {
		t.Errorf("%s is locked until %s, %v; want %s", name, got, err, until)
	}
	wantErr(t, l.Purge(t.Context(), name), blob.ErrLocked, name)
	if got := get(t, s, name); got != want {
		t.Errorf("%s holds %d bytes", name, len(got))
	}
}

func testLocked(t *testing.T, mode blob.LockMode, s blob.Store, l blob.Locker) {
	first := lockFor(mode, time.Hour)
	if info, err := l.CreateLocked(t.Context(), "g/shop/p/1", strings.NewReader("hello"), first); err != nil || info.Size != 5 {
		t.Fatal(info, err)
	}
	holds(t, s, l, "g/shop/p/1", "hello", first.Until)
	longer := lockFor(mode, 3*time.Hour)
	if err := l.Lock(t.Context(), "g/shop/p/1", longer); err != nil {
		t.Fatal(err)
	}
	holds(t, s, l, "g/shop/p/1", "hello", longer.Until)
	_ = l.Lock(t.Context(), "g/shop/p/1", first) // an error, or nothing
	if mode == blob.Compliance {
		holds(t, s, l, "g/shop/p/1", "hello", longer.Until)
	}
	// What was not locked at first.
	put(t, s, "g/shop/p/2", "later")
	if err := l.Lock(t.Context(), "g/shop/p/2", first); err != nil {
		t.Fatal(err)
	}
	holds(t, s, l, "g/shop/p/2", "later", first.Until)
	wantErr(t, l.Lock(t.Context(), "none", first), blob.ErrNotFound, "none")
}

func testLockedLarge(t *testing.T, mode blob.LockMode, s blob.Store, l blob.Locker) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 11<<20/16)
	lock := lockFor(mode, time.Hour)
	if _, err := l.CreateLocked(t.Context(), "large", bytes.NewReader(large), lock); err != nil {
		t.Fatal(err)
	}
	holds(t, s, l, "large", string(large), lock.Until)
	broken := errors.New("broken")
	_, err := l.CreateLocked(t.Context(), "half", &failing{left: 7 << 20, err: broken}, lock)
	wantErr(t, err, broken, "half")
	_, err = s.Stat(t.Context(), "half")
	wantErr(t, err, blob.ErrNotFound, "half")
}

// failing gives some zeros, then an error.
type failing struct {
	left int
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, f.err
	}
	n := min(len(p), f.left)
	clear(p[:n])
	f.left -= n
	return n, nil
}

func testLockEnds(t *testing.T, mode blob.LockMode, s blob.Store, l blob.Locker) {
	if _, err := l.CreateLocked(t.Context(), "a", strings.NewReader("x"), blob.Lock{Mode: mode, Until: time.Now().Add(3 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, l.Purge(t.Context(), "a"), blob.ErrLocked, "a")
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := l.Purge(t.Context(), "a")
		if err == nil {
			break
		}
		if !errors.Is(err, blob.ErrLocked) || time.Since(began) > 30*time.Second {
			t.Fatal(err)
		}
	}
	_, err := s.Stat(t.Context(), "a")
	wantErr(t, err, blob.ErrNotFound, "a")
}

func testLockedExclusive(t *testing.T, mode blob.LockMode, s blob.Store, l blob.Locker) {
	put(t, s, "a", "one")
	_, err := l.CreateLocked(t.Context(), "a", strings.NewReader("two"), lockFor(mode, time.Hour))
	wantErr(t, err, blob.ErrExists, "a")
	if got := get(t, s, "a"); got != "one" {
		t.Error(got)
	}
}

func testUnlocked(t *testing.T, _ blob.LockMode, s blob.Store, l blob.Locker) {
	put(t, s, "a", "x")
	if until, err := l.LockedUntil(t.Context(), "a"); err != nil || until.After(time.Now()) {
		t.Error(until, err)
	}
	for range 2 {
		if err := l.Purge(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Stat(t.Context(), "a")
	wantErr(t, err, blob.ErrNotFound, "a")
	put(t, s, "a", "again")
	_, err = l.LockedUntil(t.Context(), "none")
	wantErr(t, err, blob.ErrNotFound, "none")
}
