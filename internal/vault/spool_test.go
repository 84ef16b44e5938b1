package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
)

func always() bool { return true }

func newSpool(t testing.TB, v *Vault, local blob.Store) *Spool {
	t.Helper()
	s, err := v.NewSpool(t.Context(), local, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spool captures the world into a spool; without a lease the vault is away.
func (w *world) spool(ctx context.Context, s *Spool, l *Lease, c *clock) (dr.RecoveryPoint, error) {
	if _, err := s.Head(ctx, l, "shop"); err != nil {
		return dr.RecoveryPoint{}, err
	}
	wr, err := s.Begin(ctx, "shop", w.spec(c))
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	cp, err := w.send(wr, false)
	if err != nil {
		return dr.RecoveryPoint{}, errors.Join(err, wr.Abort())
	}
	w.points[wr.to.ID()], w.pending = cp, wr.spec.CaptureID
	p, err := wr.Commit(ctx)
	if err == nil {
		w.committed(p, cp)
		w.change(3)
		c.advance(5 * time.Second)
	}
	return p, err
}

// seeded is a vault with a first point of a world that changed since.
func seeded(t testing.TB, seed uint64) (*world, *clock, *mem.Store) {
	t.Helper()
	c, w, store := newClock(), newWorldOf(seed, 16*dr.BlockSize+512, 24*dr.BlockSize), mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	if _, err := w.cycle(t.Context(), v, l, c, filepath.Join(t.TempDir(), "journal")); err != nil {
		t.Fatal(err)
	}
	w.change(3)
	return w, c, store
}

// spoolRun is a process that captures while the vault is there, away, and there again. It stops at the first error.
type spoolRun struct {
	w       *world
	c       *clock
	spooled []string // that Commit acknowledged
	drained []string // that Drain acknowledged
}

func (r *spoolRun) run(t testing.TB, remote, local blob.Store) error {
	ctx := t.Context()
	v, err := Open(ctx, remote, Options{Now: r.c.now, Workers: 1})
	if err != nil {
		return err
	}
	l, err := v.Acquire(ctx, "shop", "east", "east-controller", time.Hour)
	if err != nil {
		return err
	}
	s, err := v.NewSpool(ctx, local, 1<<20)
	if err != nil {
		return err
	}
	if err := r.drain(ctx, s, l); err != nil {
		return err
	}
	h, err := s.Head(ctx, l, "shop")
	if err != nil {
		return err
	}
	if h.CaptureID == r.w.pending { // of a process before this one
		for id := range r.w.dirty {
			clear(r.w.dirty[id])
		}
	}
	capture := func(l *Lease) error {
		p, err := r.w.spool(ctx, s, l, r.c)
		if err == nil {
			r.spooled = append(r.spooled, p.ID)
		}
		return err
	}
	for _, step := range []func() error{
		func() error { return capture(l) },
		func() error { return r.drain(ctx, s, l) },
		func() error { return capture(nil) },
		func() error { return capture(nil) },
		func() error { return capture(nil) },
		func() error { return r.drain(ctx, s, l) },
		func() error { return capture(nil) },
		func() error { return r.drain(ctx, s, l) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *spoolRun) drain(ctx context.Context, s *Spool, l *Lease) error {
	p, err := s.Drain(ctx, l, always)
	if p != nil {
		r.drained = append(r.drained, p.ID)
	}
	return err
}

// check looks whether the vault has every point that was acknowledged as drained, and the spool or the vault every other.
func (r *spoolRun) check(t testing.TB, remote, local blob.Store) {
	t.Helper()
	v := openVault(t, remote, r.c)
	r.w.verify(t, v, "shop", r.drained...)
	s := newSpool(t, v, local)
	points, err := v.Points(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range r.spooled {
		in := slices.ContainsFunc(points, func(p dr.RecoveryPoint) bool { return p.ID == id }) ||
			slices.ContainsFunc(s.group("shop").queue, func(o *object) bool { return o.to.ID() == id })
		if !in {
			t.Fatalf("point %s is neither in the vault nor in the spool", id)
		}
	}
}

// TestSpoolKilledAtEveryCall kills the process at every call to the vault's store and to the spool's, in two ways, looks
// at what is left, goes on, and looks again.
func TestSpoolKilledAtEveryCall(t *testing.T) {
	for _, where := range []string{"vault", "spool"} {
		calls := 1 << 30
		for n := 0; n <= calls; n++ {
			for i, effect := range []faulty.Effect{faulty.Crash, faulty.CrashAfter} {
				if os.Getenv("UNDERSTUDY_TEST_ALL") != "1" && n%2 == i {
					continue // only one of the two
				}
				w, c, remote := seeded(t, 3)
				r, local := &spoolRun{w: w, c: c}, mem.New()
				plan := faulty.Fault{N: max(n, 1), Effect: effect}
				if n == 0 {
					plan = faulty.Fault{N: 1 << 30}
				}
				broken := faulty.New(remote, plan)
				var err error
				if where == "vault" {
					err = r.run(t, broken, local)
				} else {
					broken = faulty.New(local, plan)
					err = r.run(t, remote, broken)
				}
				if n == 0 {
					calls = broken.Calls(faulty.Any)
					t.Logf("%s: %d calls", where, calls)
				}
				if (n == 0) != (err == nil) || err != nil && !errors.Is(err, faulty.ErrCrashed) {
					t.Fatalf("%s, call %d: %v", where, n, err)
				}
				r.check(t, remote, local)
				if err := r.run(t, remote, local); err != nil {
					t.Fatalf("%s, after a kill at call %d: %v", where, n, err)
				}
				r.check(t, remote, local)
				v := openVault(t, remote, c)
				if got := newSpool(t, v, local).State("shop").Points; got != 0 {
					t.Fatalf("%s, after a kill at call %d: %d points wait at the end", where, n, got)
				}
				r.drained = append(r.drained, r.spooled...)
				r.check(t, remote, local)
			}
		}
	}
}

// TestSpoolTellsTheTruth looks at what a spool says before, in and after an outage.
func TestSpoolTellsTheTruth(t *testing.T) {
	w, c, remote := seeded(t, 4)
	v := openVault(t, remote, c)
	l := acquire(t, v, "east")
	s := newSpool(t, v, mem.New())
	if _, err := s.Head(t.Context(), nil, "shop"); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Fatalf("nothing is known of the vault: %v", err)
	}
	if _, err := w.spool(t.Context(), s, l, c); err != nil {
		t.Fatal(err)
	}
	if !s.Try() {
		t.Fatal("a vault that is there is not tried")
	}
	began := c.now()
	s.Away(errors.New("connection refused"))
	for range 3 {
		if s.Try() {
			t.Fatal("a vault that is away is tried at once")
		}
		if _, err := w.spool(t.Context(), s, nil, c); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Try() || s.Try() {
		t.Fatal("it is to be tried after a while, by one")
	}
	s.Away(errors.New("still refused"))
	st := s.State("shop")
	if st.Points != 4 || st.Bytes == 0 || !st.Newest.Equal(c.now().Add(-5*time.Second)) || !st.Away.Since.Equal(began) || st.Away.Cause.Error() != "still refused" {
		t.Fatalf("%+v", st)
	}
	if points, err := v.Points(t.Context(), "shop"); err != nil || len(points) != 1 {
		t.Fatalf("what waits is taken for points of the vault: %v, %v", points, err)
	}
	s.Back()
	n := 0
	p, err := s.Drain(t.Context(), l, func() bool { n++; return n <= 2 })
	if err != nil || p == nil || p.ID != "1-3" {
		t.Fatalf("drained to %v, %v", p, err)
	}
	if st := s.State("shop"); st.Points != 2 || !st.Away.Since.IsZero() {
		t.Fatalf("%+v", st)
	}
	if p, err = s.Drain(t.Context(), l, always); err != nil || p == nil || p.ID != "1-5" {
		t.Fatalf("drained to %v, %v", p, err)
	}
	w.verify(t, v, "shop", "1-1", "1-2", "1-3", "1-4", "1-5")
}

// hooked calls a function around the creation of objects.
type hooked struct {
	blob.Store
	before, after func()
}

func (h *hooked) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	if h.before != nil {
		h.before()
	}
	info, err := h.Store.Create(ctx, name, r)
	if h.after != nil {
		h.after()
	}
	return info, err
}

// TestSpoolOfAStaleEpoch takes the group over during the outage, and at moments of the drain: what was spooled is refused
// and no part of history, while what was acknowledged is.
func TestSpoolOfAStaleEpoch(t *testing.T) {
	for _, when := range []string{"outage", "before create", "after create"} {
		t.Run(when, func(t *testing.T) {
			w, c, remote := seeded(t, 5)
			hook := &hooked{Store: remote}
			v, local := openVault(t, hook, c), mem.New()
			l := acquire(t, v, "east")
			s := newSpool(t, v, local)
			for _, lease := range []*Lease{l, nil, nil} {
				if _, err := w.spool(t.Context(), s, lease, c); err != nil {
					t.Fatal(err)
				}
			}
			west := openVault(t, remote, c)
			var theirs *Lease
			takeOver := func() {
				if theirs == nil {
					var err error
					if theirs, err = west.TakeOver(t.Context(), "shop", "west", "west-controller", time.Hour); err != nil {
						t.Error(err)
					}
				}
			}
			switch when {
			case "outage":
				takeOver()
			case "before create":
				hook.before = takeOver
			case "after create":
				hook.after = takeOver
			}
			p, err := s.Drain(t.Context(), l, always)
			if !errors.Is(err, ErrRefused) || dr.KindOf(err) != dr.KindFenced || dr.Hint(err) == "" {
				t.Fatalf("drained to %v, %v", p, err)
			}
			// What was complete in the vault when west looked is history for both; the rest is not.
			if want := when == "after create"; (p != nil) != want {
				t.Errorf("acknowledged: %v", p)
			}
			if st := s.State("shop"); st.Points != 0 || newSpool(t, v, local).State("shop").Points != 0 {
				t.Errorf("left in the spool: %+v", st)
			}
			if _, err := s.Begin(t.Context(), "shop", w.spec(c)); err == nil {
				t.Error("goes on spooling at the stale epoch")
			}
			head, err := west.Head(t.Context(), "shop")
			if want := map[bool]string{true: "1-2", false: "1-1"}[when == "after create"]; err != nil || head.Point.ID != want {
				t.Errorf("west goes on from %v, %v; want %s", head.Point.ID, err, want)
			}
			wr, err := west.BeginDelta(t.Context(), theirs, w.spec(c))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wr.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSpoolAfterAnotherWriter has somebody else of the same site replicate the group during the outage.
func TestSpoolAfterAnotherWriter(t *testing.T) {
	w, c, remote := seeded(t, 6)
	v := openVault(t, remote, c)
	s := newSpool(t, v, mem.New())
	for _, lease := range []*Lease{acquire(t, v, "east"), nil} {
		if _, err := w.spool(t.Context(), s, lease, c); err != nil {
			t.Fatal(err)
		}
	}
	l := acquireAgain(t, v)
	wr, err := v.BeginDelta(t.Context(), l, w.spec(c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wr.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Drain(t.Context(), l, always); p != nil || !errors.Is(err, ErrRefused) || dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("drained to %v, %v", p, err)
	}
	if h, err := s.Head(t.Context(), l, "shop"); err != nil || h.Point.ID != "1-2" {
		t.Fatal(h, err)
	}
}

func TestSpoolIsBounded(t *testing.T) {
	w, c, remote := seeded(t, 7)
	v := openVault(t, remote, c)
	l := acquire(t, v, "east")
	local := mem.New()
	const limit = 40 << 10
	s, err := v.NewSpool(t.Context(), local, limit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.spool(t.Context(), s, l, c); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		_, err := w.spool(t.Context(), s, nil, c)
		if errors.Is(err, ErrSpoolFull) && dr.Hint(err) != "" && dr.KindOf(err) == dr.KindUnavailable {
			break
		}
		if err != nil || n > 100 {
			t.Fatal(n, err)
		}
	}
	st := s.State("shop")
	if st.Bytes > limit || st.Points < 2 {
		t.Fatalf("%+v", st)
	}
	if s.TooLarge("shop"); s.Direct("shop") {
		t.Error("goes past points that wait")
	}
	if err := s.Bypass(t.Context(), "shop"); dr.KindOf(err) != dr.KindUnavailable {
		t.Errorf("goes past points that wait: %v", err)
	}
	if _, err := s.Drain(t.Context(), l, always); err != nil {
		t.Fatal(err)
	}
	// There is space again; a segment that would never fit goes to the vault itself, once.
	if _, err := w.spool(t.Context(), s, l, c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Drain(t.Context(), l, always); err != nil {
		t.Fatal(err)
	}
	s.TooLarge("shop")
	if !s.Direct("shop") || s.Direct("shop") {
		t.Error("is not sent directly, or more than once")
	}
	if err := s.Bypass(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Head(t.Context(), nil, "shop"); dr.KindOf(err) != dr.KindUnavailable {
		t.Errorf("a head that may be an old one: %v", err)
	}
	if points, err := v.Points(t.Context(), "shop"); err != nil || len(points) != st.Points+2 {
		t.Error(fmt.Sprint(points), err)
	}
}

// TestSpoolThatIsDamaged finds a segment in the spool that cannot be read any more, or holds something else.
func TestSpoolThatIsDamaged(t *testing.T) {
	for what, at := range map[string]func(int) int{"header": func(int) int { return 100 }, "content": func(n int) int { return n * 3 / 4 }} {
		t.Run(what, func(t *testing.T) {
			w, c, remote := seeded(t, 8)
			w.change(60)
			v, local := openVault(t, remote, c), mem.New()
			l := acquire(t, v, "east")
			s := newSpool(t, v, local)
			for _, lease := range []*Lease{l, nil, nil} {
				if _, err := w.spool(t.Context(), s, lease, c); err != nil {
					t.Fatal(err)
				}
				w.change(60)
			}
			replace(t, local, s.group("shop").queue[1].name, flipBit(at))
			s = newSpool(t, v, local)
			p, err := s.Drain(t.Context(), l, always)
			if !errors.Is(err, ErrRefused) || dr.KindOf(err) != dr.KindCorrupt || p == nil || p.ID != "1-2" {
				t.Fatalf("drained to %v, %v", p, err)
			}
			if h, err := s.Head(t.Context(), l, "shop"); err != nil || h.Point.ID != "1-2" {
				t.Fatal(h, err)
			}
		})
	}
}
