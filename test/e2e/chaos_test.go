package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest/shop"
)

// number reads a setting of a test from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestChaos has a database write on a real guest while operations are chosen by chance and the controller and QEMU are
// killed and stopped in them. UNDERSTUDY_CHAOS_SEED repeats a run, UNDERSTUDY_CHAOS_OPERATIONS makes it longer.
// test/chaos does the same with hundreds of operations on sites in memory.
func TestChaos(t *testing.T) {
	r := newRig(t)
	seed := number(t, "UNDERSTUDY_CHAOS_SEED", rand.Uint64())
	operations := number(t, "UNDERSTUDY_CHAOS_OPERATIONS", 6)
	t.Logf("UNDERSTUDY_CHAOS_SEED=%d UNDERSTUDY_CHAOS_OPERATIONS=%d", seed, operations)
	f := &fray{rig: r, random: rand.New(rand.NewPCG(seed, 0)), site: "east", met: map[string]int{}}
	r.define(t, db)
	r.main.configure(t, r.vault, map[string]string{"east": filepath.Join(r.dir, "east"), "west": filepath.Join(r.dir, "west")})
	f.acks = r.boot(t, db.name)
	r.main.protect(t, group, "east", db)
	r.seeded(t, group)
	f.rest(t)
	for n := range operations {
		began := time.Now()
		what := f.step(t, n+1 == operations)
		f.rest(t)
		t.Logf("%2d %s: %.0f s, then %s at %s", n+1, what, time.Since(began).Seconds(), f.status(t, group).State, f.site)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d operations, faults injected: %v, violations: 0", operations, f.met)
}

// fray is the group of a database whose surroundings break.
type fray struct {
	*rig
	random *rand.Rand
	site   string // where the database runs
	acks   *acks
	floor  uint64 // a record that every later recovery point holds
	met    map[string]int
}

// step does one operation, and a failover when it is the last.
func (f *fray) step(t *testing.T, last bool) string {
	type op struct {
		name string
		do   func(*testing.T) string
	}
	trouble := []op{{"kill the controller", f.killController}, {"stop the controller", f.stopController}, {"kill the guest", f.killGuest},
		{"rehearse", f.rehearse}, {"sync", f.sync}}
	moves := []op{{"planned failover", func(t *testing.T) string { return f.move(t, "planned") }},
		{"failover", func(t *testing.T) string { return f.move(t, "unplanned") }}}
	ops := slices.Concat(trouble, moves)
	switch st := f.status(t, group); {
	case st.State == "failed-over":
		ops = []op{{"commit", func(t *testing.T) string { return f.begin(t, f.main.Commit) }}}
	case st.State == "committed" || st.State == "reprotect-failed":
		ops = []op{{"reprotect", func(t *testing.T) string { return f.begin(t, f.main.Reprotect) }}}
	case last:
		ops = moves
	}
	o := ops[f.random.IntN(len(ops))]
	if detail := o.do(t); detail != "" {
		return o.name + ", " + detail
	}
	return o.name
}

func (f *fray) millis(n int) time.Duration { return time.Duration(f.random.IntN(n)) * time.Millisecond }

func (f *fray) sync(t *testing.T) string {
	newest := f.acks.newest()
	if _, err := f.main.Sync(t.Context(), group, client.SyncQuery{}); err != nil {
		t.Fatal(err)
	}
	f.floor = newest
	return ""
}

func (f *fray) killController(t *testing.T) string {
	time.Sleep(f.millis(2000))
	f.met["controller killed"]++
	f.main.kill(t)
	f.main.start(t)
	return ""
}

// stopController stops the controller as a machine that is paused does.
func (f *fray) stopController(t *testing.T) string {
	time.Sleep(f.millis(1000))
	d := time.Second + f.millis(2000)
	f.met["controller stopped"]++
	if err := f.main.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := f.main.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// killGuest ends the database's QEMU and starts it again: what was acknowledged is on its disk.
func (f *fray) killGuest(t *testing.T) string {
	f.met["guest killed"]++
	end(t, f.qemus(t, f.site, db.name)[0])
	acked := f.acks.newest()
	f.start(t, f.site)
	f.acks = f.listen(t, f.site, db.name)
	f.holds(t, f.site, acked)
	return ""
}

// start starts the database's machine, which its site may still find dying.
func (f *fray) start(t *testing.T, site string) {
	t.Helper()
	eventually(t, 10*time.Second, "the start of the machine", func() error { return f.main.PowerMachine(t.Context(), site, db.name, wire.Power{Action: "start"}) })
}

// holds has the database verify itself, and compares what it had when it booted.
func (f *fray) holds(t *testing.T, site string, acked uint64) shop.Report {
	t.Helper()
	report, err := shop.Check(t.Context(), f.address(t, site, db.name, shop.Port))
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Opened < acked {
		t.Errorf("the database at %s booted with record %d, %d was acknowledged: %+v", site, report.Opened, acked, report)
	}
	return report
}

// disturb breaks something a while into a run, or nothing.
func (f *fray) disturb(t *testing.T, site string) string {
	time.Sleep(f.millis(6000))
	switch f.random.IntN(4) {
	case 0:
		return "controller killed: " + f.killController(t)
	case 1:
		return "controller stopped for " + f.stopController(t)
	case 2:
		for pid, line := range processes(t) {
			if strings.HasPrefix(line, "qemu-system-") && strings.Contains(line, f.dir+"/"+site+"/") {
				f.met["recovered guest killed"]++
				end(t, pid)
				return "guest killed while it booted"
			}
		}
	}
	return "undisturbed"
}

// over waits for the end of a run.
func (f *fray) over(t *testing.T, id string) wire.Run {
	t.Helper()
	var run wire.Run
	eventually(t, 4*time.Minute, "the end of run "+id, func() (err error) {
		if run, err = f.main.ShowRun(t.Context(), id); err == nil && !run.Over() {
			err = fmt.Errorf("%s: %s", run.State, run.Message)
		}
		return err
	})
	return run
}

// begin carries out a run while something breaks. One that fails is begun again by a later step.
func (f *fray) begin(t *testing.T, start func(context.Context, string) (wire.Run, error)) string {
	run, err := start(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	how := f.disturb(t, "")
	if run = f.over(t, run.ID); run.State != "succeeded" {
		t.Errorf("%s %s: %s", run.Kind, run.State, run.Error)
	}
	return how
}

func (f *fray) rehearse(t *testing.T) string {
	run, err := f.main.Failover(t.Context(), group, wire.Failover{Kind: "test"})
	if err != nil {
		t.Fatal(err)
	}
	how := f.disturb(t, "west")
	run = f.over(t, run.ID)
	cleanup, err := f.main.Cleanup(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if cleanup = f.over(t, cleanup.ID); cleanup.State != "succeeded" {
		t.Errorf("clean-up %s: %s", cleanup.State, cleanup.Error)
	}
	if how == "undisturbed" && run.State != "succeeded" {
		t.Errorf("an undisturbed test failover %s: %s", run.State, run.Error)
	}
	return how + ": " + run.State
}

// move fails the group over to the other site, whatever breaks, and checks what the database had when it came up.
func (f *fray) move(t *testing.T, kind string) string {
	to := map[string]string{"east": "west", "west": "east"}[f.site]
	run, err := f.main.Failover(t.Context(), group, wire.Failover{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	how := f.disturb(t, to)
	run = f.over(t, run.ID)
	tries := 1
	for ; run.State != "succeeded" && tries < 4; tries++ {
		if how == "undisturbed" {
			t.Errorf("an undisturbed %s failover %s: %s", kind, run.State, run.Error)
		}
		again := kind
		if st := f.status(t, group); st.State == "failover-failed" {
			again = "unplanned" // the epoch is raised
		}
		if run, err = f.main.Failover(t.Context(), group, wire.Failover{Kind: again}); err != nil {
			t.Fatal(err)
		}
		run = f.over(t, run.ID)
	}
	if run.State != "succeeded" {
		t.Fatalf("%s failover %s after %d tries: %s", kind, run.State, tries, run.Error)
	}
	// A guest that was killed when its run was over already is off.
	if len(f.qemus(t, to, db.name)) == 0 {
		f.start(t, to)
	}
	floor := f.floor
	if kind == "planned" {
		floor = f.acks.newest()
	}
	f.site = to
	f.acks = f.listen(t, to, db.name)
	f.floor = f.holds(t, to, floor).Opened
	return fmt.Sprintf("%s, %d tries, record %d of %d", how, tries, f.floor, floor)
}

// rest waits until nothing is under way, and looks for what must not be.
func (f *fray) rest(t *testing.T) {
	t.Helper()
	c := f.main
	eventually(t, time.Minute, "rest", func() error {
		active, err := c.ListRuns(t.Context(), client.ListRunsQuery{Active: true})
		if err == nil && len(active.Items) > 0 {
			err = fmt.Errorf("run %s %s", active.Items[0].Kind, active.Items[0].State)
		}
		if err != nil {
			return err
		}
		st, err := c.GroupStatus(t.Context(), group)
		if err == nil && (st.Failures > 0 || st.Error != "" || len(st.SplitBrain) > 0) {
			err = errors.New(st.Error + strings.Join(st.SplitBrain, " "))
		}
		return err
	})
	st := f.status(t, group)
	if st.Site != f.site || st.Test != "" {
		t.Errorf("the group is %s at %s, test %q; the database runs at %s", st.State, st.Site, st.Test, f.site)
	}
	found := map[string]int{}
	for _, line := range processes(t) {
		if strings.Contains(line, f.dir+"/") {
			found[kindOfProcess(line, f.dir)]++
		}
	}
	want := map[string]int{"controller": 1, "QEMU at " + f.site: 1}
	if switches := found["switch"]; switches > 0 {
		want["switch"] = min(switches, 2) // one for each site's networks; it ends some time after its last user
	}
	if !maps.Equal(found, want) {
		t.Errorf("processes are %v, must be %v: %v", found, want, slices.Sorted(maps.Values(processes(t))))
	}
	sockets, err := filepath.Glob(filepath.Join(f.main.data, "run", "r*.sock")) // one for each run that serves a point
	if err != nil || len(sockets) > 0 {
		t.Errorf("still served: %v %v", sockets, err)
	}
	grants, err := c.AllGrants(t.Context(), client.ListGrantsQuery{})
	if err != nil || len(grants) > 0 {
		t.Errorf("grants that have not ended: %+v %v", grants, err)
	}
	f.acks.goesOn(t)
}

// kindOfProcess classes a process of the rig by its command line.
func kindOfProcess(line, dir string) string {
	for _, site := range []string{"east", "west"} {
		if strings.HasPrefix(line, "qemu-system-") && strings.Contains(line, dir+"/"+site+"/") {
			return "QEMU at " + site
		}
	}
	switch {
	case strings.Contains(line, " serve --data "):
		return "controller"
	case strings.Contains(line, "lan-switch"):
		return "switch"
	}
	name, _, _ := strings.Cut(line, " ")
	return filepath.Base(name)
}

// TestThereAndBack has a database write without a pause while its group is failed over as planned, committed and
// reprotected, time after time: east, west, east. Nothing that was acknowledged is lost, and the machines it left are
// used again. UNDERSTUDY_PLANNED says how often.
func TestThereAndBack(t *testing.T) {
	r := newRig(t)
	times := number(t, "UNDERSTUDY_PLANNED", 3)
	f := &fray{rig: r, site: "east", met: map[string]int{}}
	r.define(t, db)
	r.main.configure(t, r.vault, map[string]string{"east": filepath.Join(r.dir, "east"), "west": filepath.Join(r.dir, "west")})
	f.acks = r.boot(t, db.name)
	r.main.protect(t, group, "east", db)
	r.seeded(t, group)
	f.acks.goesOn(t)
	for n := range times {
		began := time.Now()
		run, err := r.main.Failover(t.Context(), group, wire.Failover{Kind: "planned"})
		if err != nil {
			t.Fatal(err)
		}
		run = r.follow(t, run.ID, nil)
		acked, from := f.acks.newest(), f.acks
		f.site = map[string]string{"east": "west", "west": "east"}[f.site]
		f.acks = r.listen(t, f.site, db.name)
		report := f.holds(t, f.site, acked)
		if sum := from.sum(report.Opened); report.Opened == acked && sum != report.OpenedSum {
			t.Errorf("record %d is %s at %s, acknowledged was %s", acked, report.OpenedSum, f.site, sum)
		}
		for _, next := range []func() (wire.Run, error){
			func() (wire.Run, error) { return r.main.Commit(t.Context(), group) },
			func() (wire.Run, error) { return r.main.Reprotect(t.Context(), group) },
		} {
			if run, err = next(); err != nil {
				t.Fatal(err)
			}
			run = r.follow(t, run.ID, nil)
		}
		f.rest(t)
		t.Logf("%2d to %s: acknowledged %d, recovered %d, lost 0; %.0f s with commit and reprotection", n+1, f.site, acked, report.Opened, time.Since(began).Seconds())
		if t.Failed() {
			return
		}
	}
}
