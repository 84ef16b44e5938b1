package replicate

import (
	"testing"
	"testing/synctest"
	"time"

	"understudy/internal/site/fake"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"
	"understudy/internal/vault/cost"
)

// TestRequests counts what an hour of replication asks of an object store, compaction included, and holds the numbers that
// costs are estimated with against it.
func TestRequests(t *testing.T) {
	for _, changing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, mem.New())
			st := faulty.New(r.store)
			r.store = st
			r.cycler = r.newCycler(r.key)
			var err error
			if r.cycler.Spool, err = r.cycler.Vault.NewSpool(t.Context(), mem.New(), 1<<30); err != nil {
				t.Fatal(err)
			}
			if err := r.lease.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			w := keeping(t, r, 5*time.Second)
			defer w.stop()
			w.Add("shop", false)
			time.Sleep(10 * time.Minute)
			st.Plan()
			before := w.site.Calls(fake.OpCapture)
			want := cost.PerCycle
			for range 720 {
				if changing {
					w.write(diskDB, 0, 4096)
				}
				time.Sleep(5 * time.Second)
			}
			if changing {
				want = cost.Requests{Put: want.Put + cost.PerPoint.Put, List: want.List + cost.PerPoint.List, Get: want.Get + cost.PerPoint.Get}
			}
			cycles := float64(w.site.Calls(fake.OpCapture) - before)
			got := map[string]int{}
			for _, c := range st.Log() {
				switch c.Op {
				case faulty.Create, faulty.PutTagged:
					got["put"]++
				case faulty.List:
					got["list"]++
				case faulty.ReadAt, faulty.Stat, faulty.GetTagged:
					got["get"]++
				}
			}
			for what, want := range map[string]float64{"put": want.Put, "list": want.List, "get": want.Get} {
				if each := float64(got[what]) / cycles; each > want*1.15+0.01 || each < want*0.6-0.01 {
					t.Errorf("changing %v: %.2f %s per cycle; costs are estimated with %.2f", changing, each, what, want)
				}
			}
		})
	}
}
