package vault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"

	"filippo.io/age"
)

// crashRun is a run of a group over a store that may fail: a seed in parts, deltas, compactions. It stops at the first
// error and says which points were acknowledged.
type crashRun struct {
	w       *world
	c       *clock
	journal string
	acked   []string
}

func (r *crashRun) run(t *testing.T, store blob.Store, cycles int) error {
	v, err := Open(t.Context(), store, Options{Identities: []age.Identity{testIdentity}, Now: r.c.now, PartBytes: 1, Workers: 1})
	if err != nil {
		return err
	}
	l, err := v.Acquire(t.Context(), "shop", "east", "controller", time.Hour)
	if err != nil {
		return err
	}
	for i := range cycles {
		p, err := r.w.cycle(t.Context(), v, l, r.c, r.journal)
		if err != nil {
			return err
		}
		r.acked = append(r.acked, p.ID)
		r.w.change(3)
		r.c.advance(20 * time.Minute) // longer than the grace period
		if err := l.Renew(t.Context()); err != nil {
			return err
		}
		if i%4 == 3 {
			if _, err := v.Compact(t.Context(), l, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *crashRun) check(t *testing.T, inner blob.Store) {
	t.Helper()
	v := openVault(t, inner, r.c)
	r.w.verify(t, v, "shop", r.acked...)
	r.w.resume(t, v, "shop")
}

// TestCrashAtEveryCall kills the store at every call of a run (every fifth unless UNDERSTUDY_TEST_ALL=1), in two ways,
// looks at what is left, goes on, and looks again.
func TestCrashAtEveryCall(t *testing.T) {
	dir := t.TempDir()
	start := func(n int) (*crashRun, blob.Store) {
		r := &crashRun{w: newWorldOf(5, 16*dr.BlockSize+512, 24*dr.BlockSize), c: newClock(), journal: filepath.Join(dir, fmt.Sprint(n))}
		inner := mem.New()
		newVault(t, inner, r.c)
		return r, inner
	}
	const cycles = 9
	r, inner := start(0)
	counter := faulty.New(inner)
	if err := r.run(t, counter, cycles); err != nil {
		t.Fatal(err)
	}
	calls := counter.Calls(faulty.Any)
	t.Logf("%d calls", calls)
	step := 5 // coprime to the choice of effect
	if os.Getenv("UNDERSTUDY_TEST_ALL") == "1" {
		step = 1
	}
	for n := 1; n <= calls; n += step {
		effect := faulty.Crash
		if n%2 == 0 {
			effect = faulty.CrashAfter
		}
		r, inner := start(n)
		if err := r.run(t, faulty.New(inner, faulty.Fault{N: n, Effect: effect}), cycles); !errors.Is(err, faulty.ErrCrashed) {
			t.Fatalf("call %d: %v", n, err)
		}
		r.check(t, inner)
		if err := r.run(t, inner, 4); err != nil {
			t.Fatalf("after a crash at call %d (%v): %v", n, counter.Log()[n-1], err)
		}
		r.check(t, inner)
	}
}

// TestFaultAtEveryCall makes one call fail, or succeed and lose its answer, and goes on in the same process.
func TestFaultAtEveryCall(t *testing.T) {
	dir := t.TempDir()
	for n := 1; ; n += 7 {
		r := &crashRun{w: newWorldOf(6, 16*dr.BlockSize), c: newClock(), journal: filepath.Join(dir, fmt.Sprint(n))}
		inner := mem.New()
		newVault(t, inner, r.c)
		store := faulty.New(inner, faulty.Fault{N: n, Effect: []faulty.Effect{faulty.Fail, faulty.Lost, faulty.NoSpace}[n%3]})
		for tries := 0; len(r.acked) < 6; tries++ {
			if tries == 4 {
				t.Fatalf("fault at call %d: does not recover", n)
			}
			if err := r.run(t, store, 5); err != nil {
				if !errors.Is(err, faulty.ErrInjected) {
					t.Fatalf("fault at call %d: %v", n, err)
				}
				r.w.resume(t, openVault(t, inner, r.c), "shop")
			}
		}
		r.check(t, inner)
		if store.Calls(faulty.Any) < n {
			return
		}
	}
}

// TestSeedResumes kills a seed half way: the next one keeps the parts that were durable.
func TestSeedResumes(t *testing.T) {
	c, w := newClock(), newWorldOf(7, 2000*dr.BlockSize)
	w.change(3000)
	store := faulty.New(mem.New())
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	journal := filepath.Join(t.TempDir(), "journal")
	var durable []dr.Extent
	note := func(e map[dr.DiskID][]dr.Extent) error {
		durable = append(durable, e[w.ids()[0]]...)
		return nil
	}
	wr, err := v.BeginSeed(t.Context(), l, w.spec(c), journal, note)
	if err != nil {
		t.Fatal(err)
	}
	if wr.Resumed() {
		t.Fatal("a first seed is resumed")
	}
	id := w.ids()[0]
	half := w.disks[id][:1000*dr.BlockSize]
	for off := 0; off < len(half); off += 4 * dr.BlockSize {
		if err := wr.Write(id, int64(off), half[off:off+4*dr.BlockSize]); err != nil {
			t.Fatal(err)
		}
	}
	store.Plan(faulty.Fault{Effect: faulty.Crash})
	wr.Abort()
	if len(durable) == 0 {
		t.Fatal("no part became durable")
	}
	sent := len(durable)
	store.Plan()
	v = openVault(t, store, c)
	l = acquireAgain(t, v)
	if wr, err = v.BeginSeed(t.Context(), l, w.spec(c), journal, note); err != nil {
		t.Fatal(err)
	}
	if !wr.Resumed() {
		t.Fatal("the seed does not resume")
	}
	// The guest went on writing: blocks that are durable already are written again, some as zeros.
	w.change(50)
	clear(w.disks[id][dr.BlockSize : 9*dr.BlockSize])
	if err := wr.Zero(id, dr.BlockSize, 8*dr.BlockSize); err != nil {
		t.Fatal(err)
	}
	covered := map[int64]bool{}
	for _, e := range durable[:sent] {
		for b := e.Offset / dr.BlockSize; b < e.End()/dr.BlockSize; b++ {
			covered[b] = true
		}
	}
	for b := int64(0); b < 2000; b++ {
		if !covered[b] || w.dirty[id][int(b)] {
			if err := wr.Write(id, b*dr.BlockSize, w.disks[id][b*dr.BlockSize:(b+1)*dr.BlockSize]); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := wr.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.committed(p, w.copy())
	w.verify(t, v, "shop", "1-1")
	if wr, err = v.BeginSeed(t.Context(), l, w.spec(c), journal, nil); err != nil || wr.Resumed() {
		t.Fatalf("a seed after a seed: %v", err)
	}
	wr.Abort()
}
