package recovery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
)

const (
	rootSize = 5<<20 + 512
	dataSize = 3 << 20
)

// bare gives the sites without what other tests put around them, which hides their optional abilities.
func (w *world) bare() {
	w.wrap = func(name string, _ site.Driver) site.Driver {
		return map[string]site.Driver{"east": w.east, "west": w.west}[name]
	}
}

// addPair adds a machine with two disks to the source.
func (w *world) addPair(power dr.Power) {
	w.bare()
	w.east.AddMachine(dr.Machine{Name: "pair", CPUs: 1, MemoryMiB: 256, Power: power, Agent: true,
		Disks: []dr.Disk{{Name: "root", Size: rootSize, Format: "raw"}, {Name: "data", Size: dataSize}},
		NICs:  []dr.NIC{{Network: "lan", MAC: "52:54:00:00:00:01", Forwards: []dr.Forward{{HostPort: 8080, GuestPort: 80}}}}})
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		disk, size := "root", rootSize
		if i%2 == 1 {
			disk, size = "data", dataSize
		}
		p := make([]byte, dr.BlockSize)
		for k := range p {
			p[k] = byte(rnd.Uint32())
		}
		w.east.WriteDisk(pair(disk), int64(rnd.IntN(size/dr.BlockSize))*dr.BlockSize, p)
	}
}

func pair(disk string) dr.DiskID { return dr.DiskID{Machine: "pair", Disk: disk} }

func (w *world) copyOf(s *fake.Site, name string) map[string][]byte {
	return map[string][]byte{
		"root": s.ReadDisk(dr.DiskID{Machine: name, Disk: "root"}, 0, rootSize),
		"data": s.ReadDisk(dr.DiskID{Machine: name, Disk: "data"}, 0, dataSize),
	}
}

func sameDisks(t testing.TB, got, want map[string][]byte) {
	t.Helper()
	for disk := range want {
		if !bytes.Equal(got[disk], want[disk]) {
			t.Errorf("disk %s differs", disk)
		}
	}
}

func (w *world) clone(kind string, c recovery.CloneSpec) store.Run {
	w.t.Helper()
	run, err := w.rec.Start(w.t.Context(), recovery.Request{Kind: kind, Clone: &c, By: "ann"})
	must(w.t, err)
	return run
}

func (w *world) result(id string) recovery.CloneResult {
	w.t.Helper()
	_, res, err := w.rec.Result(w.t.Context(), id)
	must(w.t, err)
	if res.Clone == nil {
		w.t.Fatal("no result")
	}
	return *res.Clone
}

// noCopyLeft checks that no grant, journal or open disk is left.
func (w *world) noCopyLeft() {
	w.t.Helper()
	list, err := w.rec.Grants(w.t.Context(), true, 100)
	must(w.t, err)
	if len(list) != 0 {
		w.t.Errorf("grants left: %+v", list)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "copies", "*")); len(left) != 0 {
		w.t.Errorf("journals left: %v", left)
	}
	for _, m := range []string{"pair", "twin"} {
		for _, s := range []*fake.Site{w.east, w.west} {
			// A disk that is open would be in the way.
			if err := s.Power(w.t.Context(), m, site.PowerStart); err != nil && dr.KindOf(err) == dr.KindConflict {
				w.t.Errorf("%v", err)
			}
		}
	}
}

func TestClone(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	w.open()
	defer w.close()
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin", CPUs: 4, MemoryMiB: 512,
		Format: "qcow2", Sizes: map[string]int64{"data": 2 * dataSize}, Networks: map[string]string{"lan": "dmz"}, Start: true})
	w.wait(run.ID, store.RunSucceeded)
	sameDisks(t, w.copyOf(w.west, "twin"), w.copyOf(w.east, "pair"))
	if tail := w.west.ReadDisk(dr.DiskID{Machine: "twin", Disk: "data"}, dataSize, dataSize); bytes.Count(tail, []byte{0}) != dataSize {
		t.Error("the grown part is not empty")
	}
	req, _ := w.west.Provisioned("twin")
	m := req.Machine
	if m.CPUs != 4 || m.MemoryMiB != 512 || m.Disks[0].Format != "qcow2" || m.Disks[1].Size+m.Disks[0].Size != rootSize+2*dataSize ||
		m.NICs[0].Network != "dmz" || m.NICs[0].MAC != "" || m.NICs[0].Forwards[0].HostPort != 0 || m.NICs[0].Forwards[0].GuestPort != 80 || req.Owner != run.ID {
		t.Errorf("%+v", req)
	}
	if p := power(t, w.west); p["twin"] != dr.PowerOn {
		t.Error(p)
	}
	if p := power(t, w.east); p["pair"] != dr.PowerOn {
		t.Error(p)
	}
	res := w.result(run.ID)
	if res.Size != rootSize+dataSize || res.Bytes == 0 || res.Bytes > res.Size || len(res.Disks) != 2 || res.Disks[0].Digest.IsZero() || res.Kind != dr.FilesystemConsistent || res.Started.IsZero() {
		t.Errorf("%+v", res)
	}
	if run, _, err := w.rec.Run(t.Context(), run.ID); err != nil || run.About != "pair at east" || run.Group != "" {
		t.Error(run, err)
	}
	w.noCopyLeft()
	all, err := w.rec.Grants(t.Context(), false, 100)
	must(t, err)
	reads, writes := 0, 0
	for _, g := range all {
		switch {
		case g.Reason != "released" || g.Run != run.ID:
			t.Errorf("%+v", g)
		case g.Access == "write" && strings.HasPrefix(g.Disk, "west/twin/"):
			writes++
		case g.Access == "read":
			reads++
		}
	}
	if writes != 2 || reads != 4 {
		t.Errorf("%d grants to write and %d to read", writes, reads)
	}
}

func TestCloneStoppedWithinSite(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOff)
	w.open()
	defer w.close()
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", As: "twin"})
	w.wait(run.ID, store.RunSucceeded)
	sameDisks(t, w.copyOf(w.east, "twin"), w.copyOf(w.east, "pair"))
	if p := power(t, w.east); p["twin"] != dr.PowerOff || p["pair"] != dr.PowerOff {
		t.Error(p)
	}
	w.noCopyLeft()
}

func TestClonePoint(t *testing.T) {
	w := newWorld(t)
	w.bare()
	w.open()
	defer w.close()
	before := w.east.ReadDisk(id("db"), 0, diskSize)
	w.write("db", "later")
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "db", Group: "shop", To: "west", As: "db-copy"})
	w.wait(run.ID, store.RunSucceeded)
	if got := w.west.ReadDisk(dr.DiskID{Machine: "db-copy", Disk: "data"}, 0, diskSize); !bytes.Equal(got, before) {
		t.Error("the copy is not of the point")
	}
	if res := w.result(run.ID); res.Point == "" || res.Instant.IsZero() {
		t.Errorf("%+v", res)
	}
	w.noCopyLeft()
}

func TestCloneRefused(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	w.west.AddMachine(dr.Machine{Name: "taken"})
	w.open()
	defer w.close()
	for want, c := range map[string]recovery.CloneSpec{
		"no machine was named":      {Site: "east", To: "west"},
		"name the machine's site":   {Machine: "pair", To: "west"},
		"has no machine nope":       {Machine: "nope", Site: "east", To: "west"},
		"has a machine taken":       {Machine: "pair", Site: "east", To: "west", As: "taken"},
		"has a machine pair":        {Machine: "pair", Site: "east"},
		"makes machine db at west":  {Machine: "db", Site: "east", To: "west"},
		"makes machine web at west": {Machine: "db", Group: "shop", To: "west", As: "web"},
		"cannot shrink":             {Machine: "pair", Site: "east", To: "west", Sizes: map[string]int64{"data": 4096}},
		"has no disk x":             {Machine: "pair", Site: "east", To: "west", Sizes: map[string]int64{"x": 4096}},
		"disk format \"vmdk\"":      {Machine: "pair", Site: "east", To: "west", Format: "vmdk"},
		"no group named":            {Machine: "pair", Group: "none", To: "west"},
		"needs a site":              {Machine: "db", Group: "shop"},
		"point 9-9":                 {Machine: "db", Group: "shop", To: "west", Point: "9-9"},
		"no site named \"nowhere\"": {Machine: "pair", Site: "east", To: "nowhere"},
	} {
		if want == "no site named \"nowhere\"" {
			continue // the world has two sites whatever the name
		}
		_, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindClone, Clone: &c})
		if err == nil || !strings.Contains(err.Error(), want) || dr.Hint(err) == "" {
			t.Errorf("want %q: %v (%s)", want, err, dr.Hint(err))
		}
	}
	for want, c := range map[string]recovery.CloneSpec{
		"is protected with group shop": {Machine: "db", Site: "east", To: "west"},
		"has a machine pair":           {Machine: "pair", Site: "east"},
		"makes machine db at west":     {Machine: "pair", Site: "east", To: "west", As: "db"},
		"cannot be moved":              {Machine: "db", Group: "shop", To: "west"},
	} {
		_, err := w.rec.Start(t.Context(), recovery.Request{Kind: recovery.KindMove, Clone: &c})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestCloneResumes lets a copy fail for good, and goes on with it.
func TestCloneResumes(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOff)
	w.open()
	defer w.close()
	full := dr.WithHint(errors.New("no space left"), dr.KindConflict, "make room")
	var writes atomic.Int32
	var count func()
	count = func() {
		if writes.Add(1) < 60 {
			w.west.OnNext(fake.OpDiskWrite, count)
			return
		}
		w.west.FailNext(fake.OpDiskWrite, full)
	}
	w.west.OnNext(fake.OpDiskWrite, count)
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin", Start: true})
	failed := w.wait(run.ID, store.RunFailed)
	if !strings.Contains(failed.Error, "no space left") {
		t.Error(failed.Error)
	}
	must(t, w.rec.Sweep(t.Context())) // it may be resumed: nothing is swept
	if _, ok := w.west.Provisioned("twin"); !ok {
		t.Fatal("what can be resumed was swept")
	}
	next, err := w.rec.Resume(t.Context(), run.ID, "ann")
	must(t, err)
	w.wait(next.ID, store.RunSucceeded)
	sameDisks(t, w.copyOf(w.west, "twin"), w.copyOf(w.east, "pair"))
	var written int64
	for _, d := range w.result(next.ID).Disks {
		written += d.Written
	}
	if whole := w.result(next.ID).Size; written == 0 || written > whole/3 {
		t.Errorf("wrote %d bytes of disks of %d", written, whole)
	}
	must(t, w.rec.Sweep(t.Context()))
	if _, ok := w.west.Provisioned("twin"); !ok {
		t.Error("a copy that succeeded was swept")
	}
	if _, err := w.rec.Resume(t.Context(), run.ID, "ann"); dr.KindOf(err) != dr.KindConflict || !strings.Contains(err.Error(), next.ID) {
		t.Error(err)
	}
	if _, err := w.rec.Resume(t.Context(), next.ID, "ann"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
	w.noCopyLeft()
}

// TestCloneDiscarded gives up a copy that failed; and one that nobody cared for is swept.
func TestCloneDiscarded(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOff)
	w.open()
	defer w.close()
	fail := func() store.Run {
		w.west.FailNext(fake.OpStart, dr.WithHint(errors.New("broken"), dr.KindConflict, "x"))
		run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin", Start: true})
		return w.wait(run.ID, store.RunFailed)
	}
	run := fail()
	must(t, w.rec.Cancel(t.Context(), run.ID, "by ann"))
	if _, ok := w.west.Provisioned("twin"); ok {
		t.Error("the copy is still there")
	}
	if _, err := w.rec.Resume(t.Context(), run.ID, "ann"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
	if err := w.rec.Cancel(t.Context(), run.ID, "by ann"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
	w.noCopyLeft()

	run = fail()
	_, err := w.store.ChangeRun(t.Context(), run.ID, func(r *store.Run) error { r.Ended = r.Ended.Add(-8 * 24 * time.Hour); return nil })
	must(t, err)
	must(t, w.west.Power(t.Context(), "twin", site.PowerStart))
	must(t, w.rec.Sweep(t.Context()))
	if _, ok := w.west.Provisioned("twin"); !ok {
		t.Error("a machine that runs was swept")
	}
	must(t, w.west.Power(t.Context(), "twin", site.PowerKill))
	must(t, w.rec.Sweep(t.Context()))
	if _, ok := w.west.Provisioned("twin"); ok {
		t.Error("the copy was not swept")
	}
	w.noCopyLeft()
}

// TestCloneCancelled leaves nothing wherever it is cancelled.
func TestCloneCancelled(t *testing.T) {
	for _, op := range []fake.Op{fake.OpProvision, fake.OpCapture, fake.OpDiskWrite, fake.OpDiskRead} {
		t.Run(string(op), func(t *testing.T) {
			w := newWorld(t)
			w.addPair(dr.PowerOn)
			w.open()
			defer w.close()
			reached := make(chan struct{})
			on := w.west
			if op == fake.OpCapture {
				on = w.east
			}
			started := make(chan string, 1)
			on.OnNext(op, func() {
				if err := w.rec.Cancel(context.Background(), <-started, "test"); err != nil {
					t.Error(err)
				}
				close(reached)
			})
			run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin"})
			started <- run.ID
			w.wait(run.ID, store.RunCancelled)
			<-reached
			if _, ok := w.west.Provisioned("twin"); ok {
				t.Error("the copy is still there")
			}
			w.noCopyLeft()
		})
	}
}

// TestCloneOfOneInstant breaks the capture in the middle, while the guest writes both disks together: both copies show the
// same moment.
func TestCloneOfOneInstant(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	w.open()
	defer w.close()
	n := 0
	both := func() {
		n++
		for _, d := range []string{"root", "data"} {
			w.east.WriteDisk(pair(d), 7*dr.BlockSize, fmt.Appendf(nil, "generation %d", n))
		}
	}
	both()
	w.west.OnNext(fake.OpDiskFlush, func() {
		both()
		w.east.FailNext(fake.OpRead, errors.New("the snapshot broke"))
	})
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin"})
	w.wait(run.ID, store.RunSucceeded)
	got := w.copyOf(w.west, "twin")
	at := 7 * dr.BlockSize
	if a, b := got["root"][at:at+12], got["data"][at:at+12]; !bytes.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
	w.noCopyLeft()
}

// TestCloneRenewsGrants copies for longer than its grants last.
func TestCloneRenewsGrants(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator, o.GrantTTL = w.site, w, time.Second
	w.rec = recovery.New(o)
	must(t, w.rec.Open(t.Context()))
	defer w.close()
	w.east.OnNext(fake.OpRead, func() { time.Sleep(2500 * time.Millisecond) }) // a source that is slow
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin"})
	w.wait(run.ID, store.RunSucceeded)
	list, err := w.rec.Grants(t.Context(), false, 100)
	must(t, err)
	renewed := 0
	for _, g := range list {
		renewed += g.Renewed
		if g.Reason != "released" {
			t.Errorf("%+v", g)
		}
	}
	if renewed < 2 {
		t.Errorf("renewed %d times", renewed)
	}
	sameDisks(t, w.copyOf(w.west, "twin"), w.copyOf(w.east, "pair"))
}

// TestCloneRevoked ends a copy whose grant was revoked, and resumes it.
func TestCloneRevoked(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	w.open()
	defer w.close()
	w.east.OnNext(fake.OpRead, func() {
		list, err := w.rec.Grants(context.Background(), true, 100)
		if err != nil || len(list) == 0 {
			t.Error(list, err)
			return
		}
		for _, g := range list {
			if g.Access == "write" {
				must(t, w.rec.RevokeGrant(context.Background(), g.ID, "bob"))
			}
		}
	})
	run := w.clone(recovery.KindClone, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west", As: "twin"})
	failed := w.wait(run.ID, store.RunFailed)
	if !strings.Contains(failed.Error, "revoked by bob") {
		t.Error(failed.Error)
	}
	next, err := w.rec.Resume(t.Context(), run.ID, "ann")
	must(t, err)
	w.wait(next.ID, store.RunSucceeded)
	sameDisks(t, w.copyOf(w.west, "twin"), w.copyOf(w.east, "pair"))
	w.noCopyLeft()
}

func waiting(t *testing.T, w *world, id string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	there := errors.New("there")
	err := w.rec.Watch(ctx, id, func(r store.Run, _ []store.Step) error {
		if r.State == store.RunWaiting {
			return there
		}
		return nil
	})
	if !errors.Is(err, there) {
		run, _, _ := w.rec.Run(t.Context(), id)
		t.Fatalf("run is %s: %s %v", run.State, run.Error, err)
	}
}

func TestMove(t *testing.T) {
	w := newWorld(t)
	w.addPair(dr.PowerOn)
	w.open()
	// What the guest writes after the first copy must come along.
	w.west.OnNext(fake.OpDiskFlush, func() { w.east.WriteDisk(pair("data"), 4096, []byte("written late")) })
	run := w.clone(recovery.KindMove, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west"})
	waiting(t, w, run.ID)
	if e, we := power(t, w.east), power(t, w.west); e["pair"] != dr.PowerOff || we["pair"] != dr.PowerOn {
		t.Error(e, we)
	}
	if _, held := w.east.Held("pair"); !held {
		t.Error("the source is not held")
	}
	want := w.copyOf(w.east, "pair")
	sameDisks(t, w.copyOf(w.west, "pair"), want)
	if !bytes.Contains(want["data"], []byte("written late")) {
		t.Error("the test wrote nothing")
	}
	if err := w.rec.Confirm(t.Context(), run.ID, true, "ann"); dr.KindOf(err) != dr.KindConflict || !strings.Contains(err.Error(), "did not make") {
		t.Error(err)
	}
	// What asks for more than an answer, such as whether the source may be deleted, is not answered in passing.
	for _, answer := range []string{recovery.AnswerApprove, recovery.AnswerConfirm} {
		_, err := w.rec.Answer(t.Context(), run.ID, recovery.Answer{Answer: answer, Note: "delete the source", By: "ann"})
		if err == nil || answer == recovery.AnswerApprove && dr.Hint(err) != "understudy move confirm "+run.ID+", or understudy run cancel "+run.ID {
			t.Errorf("%s: %v (%s)", answer, err, dr.Hint(err))
		}
	}
	// It waits through a restart.
	w.close()
	w.open()
	defer w.close()
	waiting(t, w, run.ID)
	must(t, w.rec.Confirm(t.Context(), run.ID, false, "ann"))
	w.wait(run.ID, store.RunSucceeded)
	if _, held := w.east.Held("pair"); !held {
		t.Error("the source is not held any more")
	}
	if res := w.result(run.ID); res.Downtime < 0 || res.Confirmed.IsZero() || res.Deleted || res.GaveBack {
		t.Errorf("%+v", res)
	}
	if req, _ := w.west.Provisioned("pair"); req.Machine.NICs[0].MAC == "" || req.Machine.NICs[0].Forwards[0].HostPort != 8080 {
		t.Errorf("%+v", req.Machine)
	}
	if err := w.rec.Confirm(t.Context(), run.ID, false, "ann"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
	w.noCopyLeft()

	// What was moved here is Understudy's, and can be deleted after the way back.
	must(t, w.east.Fence(t.Context(), "pair", false, ""))
	w.east.RemoveMachine("pair")
	run = w.clone(recovery.KindMove, recovery.CloneSpec{Machine: "pair", Site: "west", To: "east"})
	waiting(t, w, run.ID)
	must(t, w.rec.Confirm(t.Context(), run.ID, true, "ann"))
	w.wait(run.ID, store.RunSucceeded)
	if !w.result(run.ID).Deleted || power(t, w.west)["pair"] != "" {
		t.Errorf("%+v %v", w.result(run.ID), power(t, w.west))
	}
	sameDisks(t, w.copyOf(w.east, "pair"), want)
}

// TestMoveGivesBack cancels a move, and lets one fail: the source is as it was.
func TestMoveGivesBack(t *testing.T) {
	for _, how := range []string{"cancel while waiting", "cancel while copying", "start fails"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.addPair(dr.PowerOn)
			w.open()
			defer w.close()
			want := store.RunCancelled
			started := make(chan string, 1)
			switch how {
			case "cancel while copying":
				w.east.OnNext(fake.OpFence, func() { must(t, w.rec.Cancel(context.Background(), <-started, "test")) })
			case "start fails":
				w.west.FailNext(fake.OpStart, dr.WithHint(errors.New("broken"), dr.KindConflict, "x"))
				want = store.RunFailed
			}
			run := w.clone(recovery.KindMove, recovery.CloneSpec{Machine: "pair", Site: "east", To: "west"})
			started <- run.ID
			if how == "cancel while waiting" {
				waiting(t, w, run.ID)
				must(t, w.rec.Cancel(t.Context(), run.ID, "test"))
			}
			w.wait(run.ID, want)
			if _, held := w.east.Held("pair"); held || power(t, w.east)["pair"] != dr.PowerOn {
				t.Error("the source was not given back")
			}
			_, there := w.west.Provisioned("pair")
			if there != (want == store.RunFailed) || power(t, w.west)["pair"] == dr.PowerOn {
				t.Errorf("at the target: %t, %v", there, power(t, w.west))
			}
			if !w.result(run.ID).GaveBack {
				t.Errorf("%+v", w.result(run.ID))
			}
			if want == store.RunFailed {
				next, err := w.rec.Resume(t.Context(), run.ID, "ann")
				must(t, err)
				waiting(t, w, next.ID)
				must(t, w.rec.Confirm(t.Context(), next.ID, false, "ann"))
				w.wait(next.ID, store.RunSucceeded)
			}
			w.noCopyLeft()
		})
	}
}

func TestSweepLeavesOthersAlone(t *testing.T) {
	w := newWorld(t)
	w.open()
	defer w.close()
	must(t, w.west.Provision(t.Context(), site.ProvisionRequest{Machine: dr.Machine{Name: "theirs"}, Owner: "r12345678"}))
	must(t, os.MkdirAll(filepath.Join(w.dir, "copies", "r0"), 0o700))
	must(t, w.rec.Sweep(t.Context()))
	if _, ok := w.west.Provisioned("theirs"); !ok {
		t.Error("swept what a run of another controller made")
	}
	w.noCopyLeft()
	if data, err := json.Marshal(recovery.Result{}); err != nil || bytes.Contains(data, []byte("clone")) {
		t.Errorf("%s %v", data, err)
	}
}
