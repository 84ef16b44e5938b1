package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
)

// store is a db that is cloned and moved.
var store = vm{"store", "us.role=db us.interval=20ms", 7000, []string{"data", "noise"}}

// TestCopies clones a machine that writes, with the controller killed in the middle, and moves it, undone and for good.
func TestCopies(t *testing.T) {
	r := newRig(t)
	c := r.main
	c.configure(t, r.vault, map[string]string{"east": filepath.Join(r.dir, "east"), "west": filepath.Join(r.dir, "west")})
	r.define(t, store)
	r.fill(t, store.name, "noise")
	east := r.boot(t, store.name)

	t.Run("Clone", func(t *testing.T) {
		began := east.newest()
		run, err := c.Clone(t.Context(), wire.Clone{Machine: store.name, Site: "east", To: "west", As: "twin", Format: "raw",
			Sizes: map[string]int64{"data": 2 * dataSize}, Start: true})
		if err != nil {
			t.Fatal(err)
		}
		// The kernel is copied, the disks are not.
		r.follow(t, run.ID, func(now wire.Run) bool {
			for _, s := range now.Steps {
				if s.Name == "copy kernel" && s.State == "succeeded" {
					return true
				}
			}
			return false
		})
		c.kill(t)
		c.start(t)
		run = r.follow(t, run.ID, nil)
		r.listen(t, "west", "twin")
		report := r.check(t, "twin")
		t.Logf("acknowledged when it began %d, in the clone %d, now %d: %+v", began, report.Opened, east.newest(), run.Result["clone"])
		if report.Opened < began || report.Opened > east.newest() {
			t.Errorf("the clone opened with %d records, of %d to %d", report.Opened, began, east.newest())
		}
		east.goesOn(t)
		info, err := os.ReadFile(filepath.Join(r.dir, "west/machines/twin.yaml"))
		if err != nil || !strings.Contains(string(info), "data.raw") {
			t.Errorf("%s %v", info, err)
		}
		if st, err := os.Stat(filepath.Join(r.dir, "west/disks/twin/data.raw")); err != nil || st.Size() != 2*dataSize {
			t.Errorf("%v %v", st, err)
		}
		if err := c.PowerMachine(t.Context(), "west", "twin", wire.Power{Action: "kill"}); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("Move", func(t *testing.T) {
		run, err := c.Move(t.Context(), wire.Clone{Machine: store.name, Site: "east", To: "west"})
		if err != nil {
			t.Fatal(err)
		}
		waits := func(now wire.Run) bool { return now.State == "waiting" }
		r.follow(t, run.ID, waits)
		last := east.newest()
		r.listen(t, "west", store.name)
		if report := r.check(t, store.name); report.Opened < last {
			t.Errorf("acknowledged %d, found %d", last, report.Opened)
		}
		if pids := r.qemus(t, "east", store.name); len(pids) != 0 {
			t.Errorf("%s runs at east too: %v", store.name, pids)
		}
		c.refused(t, 5, "machine", "start", store.name, "--site", "east")
		c.refused(t, 4, "move", "confirm", run.ID, "--delete-source") // a person made it
		c.must(t, "run", "cancel", run.ID)
		ended, err := awaitEnd(t, c, run.ID)
		if err != nil || ended.State != "cancelled" {
			t.Fatalf("%s: %s %v", ended.State, ended.Error, err)
		}
		if pids := r.qemus(t, "west", store.name); len(pids) != 0 {
			t.Errorf("%s still runs at west: %v", store.name, pids)
		}
		east = r.listen(t, "east", store.name)
		if east.newest() < last {
			t.Errorf("the source was given back with %d of %d records", east.newest(), last)
		}

		if run, err = c.Move(t.Context(), wire.Clone{Machine: store.name, Site: "east", To: "west"}); err != nil {
			t.Fatal(err)
		}
		r.follow(t, run.ID, waits)
		last = east.newest()
		r.listen(t, "west", store.name)
		if report := r.check(t, store.name); report.Opened < last {
			t.Errorf("acknowledged %d, found %d", last, report.Opened)
		}
		c.must(t, "move", "confirm", run.ID)
		r.follow(t, run.ID, nil)
		r.nothingOfCopies(t)
	})
}

// awaitEnd waits for a run's end, however it ends.
func awaitEnd(t *testing.T, c *controller, id string) (run wire.Run, err error) {
	t.Helper()
	err = c.Watch(t.Context(), id, func(now wire.Run) error { run = now; return nil })
	return run, err
}

// fill writes data that does not compress to a disk of a machine that does not run, so that a copy takes a while.
func (r *rig) fill(t *testing.T, machine, disk string) {
	t.Helper()
	raw := filepath.Join(r.dir, "noise")
	random, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer random.Close()
	b := make([]byte, noiseSize)
	if _, err := random.Read(b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(raw, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "qcow2", raw, r.image(machine, disk)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// nothingOfCopies checks that copies that have ended left no grant, journal, server or change tracking.
func (r *rig) nothingOfCopies(t *testing.T) {
	t.Helper()
	grants, err := r.main.AllGrants(context.Background(), client.ListGrantsQuery{})
	if err != nil || len(grants) != 0 {
		t.Errorf("grants left: %+v %v", grants, err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.main.data, "copies", "*")); len(left) != 0 {
		t.Errorf("journals left: %v", left)
	}
	for pid, line := range processes(t) {
		if strings.Contains(line, r.dir+"/") && strings.HasPrefix(line, "qemu-nbd") {
			t.Errorf("left running: %s %s", pid, line)
		}
	}
	for _, d := range store.disks {
		out, err := exec.CommandContext(t.Context(), "qemu-img", "info", "-U", r.image(store.name, d)).CombinedOutput()
		if err != nil || strings.Contains(string(out), "name: us-") {
			t.Errorf("%v: %s", err, out)
		}
	}
}
