package replicate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/site/fake"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
)

// TestStoreFailsAtEveryCall lets each call of a delta cycle to the store go wrong in each way, then runs a good cycle.
func TestStoreFailsAtEveryCall(t *testing.T) {
	calls := deltaAfterFault(t, faulty.Fault{N: 1 << 30})
	for _, effect := range []faulty.Effect{faulty.Fail, faulty.Short, faulty.NoSpace, faulty.Lost} {
		for n := 1; n <= calls; n++ {
			t.Run(fmt.Sprintf("effect %d call %d", effect, n), func(t *testing.T) {
				t.Parallel()
				deltaAfterFault(t, faulty.Fault{N: n, Effect: effect, Bytes: 100})
			})
		}
	}
}

// deltaAfterFault seeds, then runs a delta cycle on a store with a fault, then one without. It returns how many calls
// the cycle with the fault made.
func deltaAfterFault(t *testing.T, fault faulty.Fault) int {
	inner := mem.New()
	r := newRig(t, inner)
	r.write(diskDB, 0, 256<<10)
	r.cycle()
	r.write(diskDB, 4096, 12345)
	r.write(diskWeb, 1<<20, 5)
	st := faulty.New(inner, fault)
	r.useStore(st)
	if _, err := r.cycler.Cycle(t.Context(), r.lease, r.group, CycleOptions{}); err == nil {
		r.check()
	}
	calls := st.Calls(faulty.Any)
	r.useStore(inner)
	r.write(diskWeb, 2<<20, 5000)
	if res := r.cycle(); res.Kind != KindDelta {
		t.Errorf("the cycle after was %s (%s)", res.Kind, res.Reason)
	}
	r.check()
	return calls
}

// useStore goes on with another view of the vault's store, under a lease of its own.
func (r *rig) useStore(st blob.Store) {
	r.t.Helper()
	v, err := vault.Open(r.t.Context(), st, vault.Options{Identities: []age.Identity{r.key}, Now: time.Now, Logger: quiet, PartBytes: r.partBytes})
	if err != nil {
		return // the fault hit the opening: the cycle below runs on what was open
	}
	lease, err := v.Acquire(r.t.Context(), "shop", "east", "test", time.Hour)
	if err != nil {
		return
	}
	r.cycler.Vault, r.lease = v, lease
}

// TestInterruptedSeedGoesOn breaks the store in the middle of a seed: what was durable is not sent again, also when
// the disk has changed meanwhile.
func TestInterruptedSeedGoesOn(t *testing.T) {
	inner := mem.New()
	r := newRig(t, inner)
	// Many more chunks than are looked at at once: what was in flight at the fault is sent again.
	r.site.ResizeDisk(diskDB, 32<<20)
	r.write(diskDB, 0, 28<<20)
	r.partBytes = 1 << 20
	r.useStore(faulty.New(inner, faulty.Fault{Op: faulty.Create, N: 8, Times: -1, Effect: faulty.Fail}))
	if _, err := r.cycler.Cycle(t.Context(), r.lease, r.group, CycleOptions{}); !errors.Is(err, faulty.ErrInjected) {
		t.Fatalf("seed on a broken store: %v ", err)
	}
	var durable int64
	if err := inner.List(t.Context(), "g/shop/", func(i blob.Info) error { durable += i.Size; return nil }); err != nil {
		t.Fatal(err)
	}
	r.site.Restart()
	r.site.WriteDisk(diskDB, 0, make([]byte, 64<<10)) // was data in a durable part, is zeros now
	r.write(diskDB, 512<<10, 4096)
	r.useStore(inner)
	res := r.cycle()
	if res.Kind != KindSeed {
		t.Fatalf("kind %s", res.Kind)
	}
	// What was in flight is sent again: a chunk for each reader, and the part that failed.
	again := res.Stored - 28<<20
	if inFlight := int64(readers()+2) << 20; durable <= inFlight || again > inFlight {
		t.Errorf("%d bytes were durable, %d were sent again", durable, again)
	}
	r.check()
	r.write(diskDB, 1<<20, 4096)
	if res := r.cycle(); res.Kind != KindDelta || res.Changed != 4096 {
		t.Errorf("the delta after: %+v", res)
	}
	r.check()
	if n := r.site.Calls(fake.OpCapture); n != 3 {
		t.Errorf("%d captures", n)
	}
}
