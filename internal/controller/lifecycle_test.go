package controller

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

// served reads an export over a connection per request, as good as a machine that reconnects.
type served string

func (s served) ReadAt(p []byte, off int64) (int, error) {
	c, err := nbd.Dial(context.Background(), string(s), nbd.DialOptions{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ReadAt(p, off)
}

// trip is a group whose machines' disks are followed by a model.
type trip struct {
	*stage
	t     *testing.T
	rng   *rand.Rand
	model map[dr.DiskID][]byte
}

const tripSize = 1<<20 + 512

func newTrip(t *testing.T) *trip {
	s := setUp(t)
	w := &trip{stage: s, t: t, rng: rand.New(rand.NewPCG(7, 7)), model: map[dr.DiskID][]byte{}}
	g := dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "fast", Machines: []dr.MachinePolicy{{Name: "db", Order: 1}, {Name: "web", Order: 2}}}
	source := func(uri string) (io.ReaderAt, error) { return served(uri), nil }
	s.east.OpenSource, s.west.OpenSource = source, source
	for _, m := range g.Machines {
		s.east.AddMachine(dr.Machine{Name: m.Name, Power: dr.PowerOn, Disks: []dr.Disk{{Name: "system", Size: tripSize}, {Name: "data", Size: tripSize}}})
		for _, d := range []string{"system", "data"} {
			w.model[dr.DiskID{Machine: m.Name, Disk: d}] = make([]byte, tripSize)
		}
	}
	w.write(s.east, 60)
	if _, err := s.Protect(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	w.sync()
	return w
}

func (w *trip) sync() {
	w.t.Helper()
	if _, err := w.Sync(w.t.Context(), "shop"); err != nil {
		w.t.Fatal(err)
	}
}

// write writes at random to the disks of all machines, as guests do.
func (w *trip) write(s *fake.Site, n int) {
	for range n {
		for id, disk := range w.model {
			p := make([]byte, 1+w.rng.IntN(9000))
			for i := range p {
				p[i] = byte(w.rng.Uint32())
			}
			off := w.rng.Int64N(int64(len(disk)-len(p)) + 1)
			copy(disk[off:], p)
			s.WriteDisk(id, off, p)
		}
	}
}

// same checks that a site has what the model has, bit for bit.
func (w *trip) same(s *fake.Site, where string) {
	w.t.Helper()
	for id, want := range w.model {
		if got := s.ReadDisk(id, 0, len(want)); !bytes.Equal(got, want) {
			n := 0
			for i := range got {
				if got[i] != want[i] {
					n++
				}
			}
			w.t.Fatalf("%s: disk %s differs in %d bytes (%x, want %x)", where, id, n, sha256.Sum256(got), sha256.Sum256(want))
		}
	}
}

func (w *trip) start(q recovery.Request, want store.RunState) (store.Run, recovery.Result) {
	w.t.Helper()
	q.Group, q.By = "shop", "tester"
	run, err := w.StartRequest(w.t.Context(), q)
	if err != nil {
		w.t.Fatalf("%s: %v (%s)", q.Kind, err, dr.Hint(err))
	}
	run = w.reach(w.t, run, want)
	_, res, err := w.recovery.Result(w.t.Context(), run.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return run, res
}

func (w *trip) do(kind string) recovery.Result {
	w.t.Helper()
	_, res := w.start(recovery.Request{Kind: kind}, store.RunSucceeded)
	return res
}

// stands checks where the group stands and that its machines run at one site only.
func (w *trip) stands(state dr.State, at string) {
	w.t.Helper()
	st := status(w.t, w.stage)
	if st.Protection.State != state || st.Group.Site != at || st.Group.Home != "east" || st.Protection.SplitBrain {
		w.t.Fatalf("%+v, want %s at %s", st, state, at)
	}
	for name, s := range map[string]*fake.Site{"east": w.east, "west": w.west} {
		list, err := s.Machines(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range list {
			on := m.Power == dr.PowerOn
			if on != (name == at) {
				w.t.Errorf("%s at %s is %s, the group is at %s", m.Name, name, m.Power, at)
			}
			if _, held := s.Held(m.Name); held == on {
				w.t.Errorf("%s at %s: held %v", m.Name, name, held)
			}
		}
	}
}

// TestRoundTrip goes east, west, east, west with writes on both sides, planned and unplanned: bit for bit, on the original
// machines, writing only what differs.
func TestRoundTrip(t *testing.T) {
	for _, planned := range []bool{true, false} {
		t.Run(fmt.Sprint("planned=", planned), func(t *testing.T) {
			w := newTrip(t)
			kind := recovery.KindFailover
			if planned {
				kind = recovery.KindPlanned
			}
			w.write(w.east, 3)
			if !planned {
				w.sync()
				// What the source alone has is lost, and kept until the way back is committed. When it is fenced no cycle can
				// send that any more.
				w.east.OnNext(fake.OpFence, func() {
					w.east.WriteDisk(dr.DiskID{Machine: "db", Disk: "data"}, 100, []byte("never replicated"))
				})
			}
			w.do(kind)
			w.stands(dr.StateFailedOver, "west")
			w.same(w.west, "after the failover")
			w.do(recovery.KindCommit)
			w.write(w.west, 4)

			before := w.preview()
			res := w.do(recovery.KindReprotect)
			w.stands(dr.StateProtected, "west")
			for _, o := range res.Originals {
				if o.Point != res.Point || planned && (o.Base == "" || o.Total > tripSize) || !planned && o.Base != "" {
					t.Errorf("original %+v at point %s", o, res.Point)
				}
			}
			if planned {
				w.same(w.east, "originals after reprotect")
			} else if before.Disks[0].Alone != dr.BlockSize {
				t.Errorf("preview %+v", before)
			}
			for _, m := range []string{"db", "web"} {
				if !w.east.Preserved(m) {
					t.Errorf("the former content of %s is not kept", m)
				}
			}
			w.write(w.west, 2)
			if !planned {
				w.sync()
			}
			created := w.east.Calls(fake.OpProvision)
			run, err := w.Failback(t.Context(), recovery.Request{Kind: kind, Group: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			w.reach(t, run, store.RunSucceeded)
			w.stands(dr.StateFailedOver, "east")
			w.same(w.east, "after the failback")
			if n := w.east.Calls(fake.OpProvision); n != created {
				t.Errorf("%d machines were created", n-created)
			}
			w.do(recovery.KindCommit)
			for _, m := range []string{"db", "web"} {
				if w.east.Preserved(m) {
					t.Errorf("the former content of %s is still kept", m)
				}
			}
			if _, err := w.Failback(t.Context(), recovery.Request{Kind: kind, Group: "shop"}); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
				t.Errorf("failback at home: %v", err)
			}
			w.write(w.east, 2)
			w.do(recovery.KindReprotect)
			w.stands(dr.StateProtected, "east")
			w.write(w.east, 2)
			w.do(recovery.KindPlanned)
			w.stands(dr.StateFailedOver, "west")
			w.same(w.west, "after the second failover")
			rows, err := w.store.Fences(t.Context(), "shop")
			if err != nil || len(rows) != 2 || rows[0].Site != "east" || rows[1].Site != "east" {
				t.Errorf("fences %+v %v", rows, err)
			}
		})
	}
}

func (w *trip) preview() recovery.ReprotectPreview {
	w.t.Helper()
	v, err := w.PreviewReprotect(w.t.Context(), "shop")
	if err != nil || v.Refused != "" || len(v.Warnings) > 0 || len(v.Disks) != 4 {
		w.t.Fatalf("preview %+v: %v", v, err)
	}
	for _, d := range v.Disks {
		if d.Size != tripSize || !d.Original || d.Send <= 0 || d.Send > 512<<10 || d.Write < d.Send || d.Sampled {
			w.t.Errorf("preview %+v", d)
		}
	}
	if writes := w.east.Calls(fake.OpDiskWrite); writes > 0 {
		w.t.Errorf("the preview wrote %d times", writes)
	}
	return v
}

// TestReturnWithoutOriginals: the former site is gone when the group is protected at its new one, and empty when it
// comes back.
func TestReturnWithoutOriginals(t *testing.T) {
	w := newTrip(t)
	w.do(recovery.KindPlanned)
	w.do(recovery.KindCommit)
	w.write(w.west, 2)
	for range 2000 {
		w.east.FailNext(fake.OpMachines, dr.WithHint(fmt.Errorf("no route to host"), dr.KindUnavailable, ""))
	}
	res := w.do(recovery.KindReprotect)
	if len(res.Originals) != 2 || res.Originals[0].Reason == "" || status(t, w.stage).Protection.State != dr.StateProtected {
		t.Fatalf("%+v", res)
	}
	w.east.RemoveMachine("db")
	until(t, "the site answers", func() bool { _, err := w.east.Machines(t.Context()); return err == nil })
	w.write(w.west, 2)
	w.do(recovery.KindPlanned)
	w.stands(dr.StateFailedOver, "east")
	w.same(w.east, "one created, one original")
	if _, created := w.east.Provisioned("db"); !created {
		t.Error("db was not created anew")
	}
	w.do(recovery.KindCommit)
	w.do(recovery.KindReprotect)
	w.stands(dr.StateProtected, "east")
}

// TestStrayOriginal: somebody releases and starts a machine that was left behind, after it was brought up to date.
// What it wrote is neither taken for the point that it was at nor written over before somebody says so.
func TestStrayOriginal(t *testing.T) {
	for _, keep := range []string{"west", "east"} {
		t.Run("keep "+keep, func(t *testing.T) {
			w := newTrip(t)
			ctx := t.Context()
			w.do(recovery.KindPlanned)
			w.do(recovery.KindCommit)
			w.do(recovery.KindReprotect)
			if err := w.east.Fence(ctx, "db", false, ""); err != nil {
				t.Fatal(err)
			}
			if err := w.east.Power(ctx, "db", site.PowerStart); err != nil {
				t.Fatal(err)
			}
			w.east.WriteDisk(dr.DiskID{Machine: "db", Disk: "data"}, 100, []byte("alone"))
			until(t, "the stray is seen", func() bool { return status(t, w.stage).Protection.SplitBrain })
			fences, err := w.Fences(ctx, "shop")
			if err != nil || fences[0].Power != dr.PowerOff {
				t.Errorf("fences %+v %v", fences, err)
			}
			for _, kind := range []string{recovery.KindPlanned, recovery.KindFailover, recovery.KindReprotect} {
				if _, err := w.StartRequest(ctx, recovery.Request{Kind: kind, Group: "shop"}); dr.KindOf(err) != dr.KindConflict {
					t.Errorf("%s in split brain: %v", kind, err)
				}
			}
			w.start(recovery.Request{Kind: recovery.KindResolve, Keep: keep}, store.RunSucceeded)
			w.stands(dr.StateProtected, keep)
			if keep == "east" {
				if got := w.east.ReadDisk(dr.DiskID{Machine: "db", Disk: "data"}, 100, 5); string(got) != "alone" {
					t.Errorf("east has %q", got)
				}
				copy(w.model[dr.DiskID{Machine: "db", Disk: "data"}][100:], "alone")
				w.same(w.east, "kept east")
				w.write(w.east, 2)
				w.do(recovery.KindPlanned)
				w.stands(dr.StateFailedOver, "west")
				w.same(w.west, "over what was given up at west")
				return
			}
			w.write(w.west, 1)
			w.do(recovery.KindPlanned)
			w.stands(dr.StateFailedOver, "east")
			w.same(w.east, "over what was given up at east")
		})
	}
}

// TestUnprotectAfterReprotect: what was left behind gets back what it held when the group went away, and stays held until
// somebody releases it.
func TestUnprotectAfterReprotect(t *testing.T) {
	w := newTrip(t)
	ctx := t.Context()
	w.do(recovery.KindPlanned)
	w.do(recovery.KindCommit)
	at := w.east.ReadDisk(dr.DiskID{Machine: "db", Disk: "data"}, 0, tripSize)
	w.write(w.west, 3)
	w.do(recovery.KindReprotect)
	if err := w.ReleaseMachine(ctx, "east", "db"); dr.KindOf(err) != dr.KindFenced || dr.Hint(err) == "" {
		t.Errorf("release of a machine that a group wants held: %v", err)
	}
	if err := w.Unprotect(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if got := w.east.ReadDisk(dr.DiskID{Machine: "db", Disk: "data"}, 0, tripSize); !bytes.Equal(got, at) || w.east.Preserved("db") {
		t.Error("the original does not have back what it held")
	}
	rows, err := w.store.Originals(ctx, "")
	if err != nil || len(rows) > 0 {
		t.Errorf("left: %+v %v", rows, err)
	}
	if err := w.ReleaseMachine(ctx, "east", "db"); err != nil {
		t.Fatal(err)
	}
	if err := w.east.Power(ctx, "db", site.PowerStart); err != nil {
		t.Error(err)
	}
	// Protected anew at west, with the way to east free: no old record stops what runs there.
	w.east.RemoveMachine("db")
	w.east.RemoveMachine("web")
	g := dr.Group{Name: "shop", Site: "west", Target: "east", Vault: "main", Policy: "fast", Machines: []dr.MachinePolicy{{Name: "db"}, {Name: "web"}}}
	if _, err := w.Protect(ctx, g); err != nil {
		t.Fatal(err)
	}
	w.sync()
	w.do(recovery.KindPlanned)
	for range 3 {
		if err := w.recovery.Reconcile(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if st := status(t, w.stage); st.Group.Site != "east" || st.Group.Home != "west" || st.Protection.SplitBrain {
		t.Errorf("%+v", st)
	}
	list, err := w.east.Machines(ctx)
	if err != nil || len(list) != 2 || list[0].Power != dr.PowerOn {
		t.Errorf("%+v %v", list, err)
	}
}

func TestPreviewFailover(t *testing.T) {
	w := newTrip(t)
	ctx := t.Context()
	v, err := w.PreviewFailover(ctx, recovery.Request{Kind: recovery.KindPlanned, Group: "shop"}, false)
	if err != nil || v.Refused != "" || v.Lose != 0 || len(v.Machines) != 2 || v.Machines[0].Original || v.Failback || len(v.Warnings) != 1 || v.RTO != 0 {
		t.Errorf("%+v %v", v, err)
	}
	v, err = w.PreviewFailover(ctx, recovery.Request{Kind: recovery.KindFailover, Group: "shop"}, false)
	if err != nil || v.Refused != "" || v.Point.ID == "" || v.Lose <= 0 || v.Machines[0].Lose != v.Lose || len(v.Warnings) != 2 {
		t.Errorf("%+v %v", v, err)
	}
	if _, err := w.PreviewFailover(ctx, recovery.Request{Kind: recovery.KindPlanned, Group: "shop"}, true); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("failback at home: %v", err)
	}
	w.do(recovery.KindPlanned)
	w.do(recovery.KindCommit)
	v, err = w.PreviewFailover(ctx, recovery.Request{Kind: recovery.KindPlanned, Group: "shop"}, true)
	if err != nil || v.Refused == "" || v.Hint == "" || !v.Failback {
		t.Errorf("%+v %v", v, err)
	}
	w.write(w.west, 1)
	w.do(recovery.KindReprotect)
	v, err = w.PreviewFailover(ctx, recovery.Request{Kind: recovery.KindPlanned, Group: "shop"}, true)
	if err != nil || v.Refused != "" || !v.Machines[0].Original || v.Machines[0].Base == "" || v.Machines[0].Changed >= tripSize {
		t.Errorf("%+v %v", v, err)
	}
	for _, s := range v.Steps {
		t.Log(s)
	}
}

// TestCancelReprotect: the originals have their content back, and nothing is replicated.
func TestCancelReprotect(t *testing.T) {
	w := newTrip(t)
	w.do(recovery.KindPlanned)
	w.do(recovery.KindCommit)
	at := w.east.ReadDisk(dr.DiskID{Machine: "db", Disk: "data"}, 0, tripSize)
	w.write(w.west, 3)
	started := make(chan struct{})
	block := make(chan struct{})
	w.east.OnNext(fake.OpDiskWrite, func() { close(started); <-block })
	run, err := w.StartRequest(t.Context(), recovery.Request{Kind: recovery.KindReprotect, Group: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	if err := w.CancelRun(t.Context(), run.ID, "tester"); err != nil {
		t.Fatal(err)
	}
	close(block)
	w.reach(t, run, store.RunCancelled)
	w.stands(dr.StateCommitted, "west")
	if got := w.east.ReadDisk(dr.DiskID{Machine: "db", Disk: "data"}, 0, tripSize); !bytes.Equal(got, at) || w.east.Preserved("db") {
		t.Error("the original does not have back what it held")
	}
	w.do(recovery.KindReprotect)
	w.stands(dr.StateProtected, "west")
	w.same(w.east, "reprotected after all")
}
