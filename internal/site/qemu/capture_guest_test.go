package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

// Two guests that write all the time are captured again and again. At some instants an independent copy is made while
// they stand still; frozen captures hold file systems that need no repair. At last a controller dies over a frozen guest.
func TestCaptureGuests(t *testing.T) {
	guest := need.Guest(t)
	l := newLab(t)
	ids := []dr.DiskID{}
	for i, name := range []string{"db", "two"} {
		l.define(name, fmt.Sprintf(`name: %s
memory: 192MiB
agent: true
boot: {kernel: %s/vmlinuz, initrd: %s/initrd.gz, cmdline: "console=ttyS0 quiet us.role=db us.ip=10.77.0.1%d/24"}
disks: [{name: data, path: %s.qcow2, format: qcow2}]
nics: [{network: lan}, {network: access, forwards: [{guestPort: 7000}]}]
`, name, guest, guest, i, name))
		l.makeDisk64(name)
		ids = append(ids, dr.DiskID{Machine: name, Disk: "data"})
		l.must(l.Power(l.Context(), name, site.PowerStart))
	}
	ctx, cancel := context.WithTimeout(l.Context(), 3*time.Minute)
	defer cancel()
	for _, id := range ids {
		l.must(l.Probe(ctx, id.Machine, dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
		l.must(l.Probe(ctx, id.Machine, dr.Probe{Kind: dr.ProbeAgent}))
	}
	r := newReplica(l, "db", "two")
	monitor := func(name, command string) {
		t.Helper()
		c, err := l.handle(name).monitor(ctx)
		l.must(err)
		l.must(c.Run(ctx, command, nil, nil))
	}
	for i := range 8 {
		req := r.request()
		req.Freeze, req.FreezeTimeout = i%4 == 3, 10*time.Second
		still := i%2 == 0
		var want map[dr.DiskID][]byte
		if still {
			// A guest that stands still is captured as it stands, and left so.
			monitor("db", "stop")
			monitor("two", "stop")
			want = r.content(ids...)
		}
		start := time.Now()
		c, err := l.Capture(ctx, req)
		l.must(err)
		captured := time.Since(start)
		if still {
			monitor("db", "cont")
			monitor("two", "cont")
		}
		full, moved := r.pull(c)
		r.compare(want)
		if (full != nil) != (i == 0) {
			t.Errorf("cycle %d: full %v", i, full)
		}
		if req.Freeze && c.Consistency() != dr.FilesystemConsistent {
			t.Errorf("cycle %d is %s consistent", i, c.Consistency())
		}
		l.must(c.Commit(ctx))
		r.last = req.ID
		r.clean()
		t.Logf("cycle %d: %d KiB, paused %.1f ms, capture %.0f ms, all %.0f ms, %s", i, moved>>10, c.Paused().Seconds()*1e3,
			captured.Seconds()*1e3, time.Since(start).Seconds()*1e3, c.Consistency())
		if req.Freeze {
			image := filepath.Join(t.TempDir(), "image")
			l.must(os.WriteFile(image, r.disks[ids[0]], 0o600))
			if out, err := exec.CommandContext(ctx, "e2fsck", "-fn", image).CombinedOutput(); err != nil {
				t.Errorf("cycle %d: %v: %s", i, err, out)
			}
		}
	}
	for _, id := range ids {
		l.must(l.Probe(ctx, id.Machine, dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
	}
	r.frozenGoesOn(ctx)
}

// frozenGoesOn lets a controller die while it has a guest frozen and stopped. The next one lets it go on as soon as it
// starts.
func (r *replica) frozenGoesOn(ctx context.Context) {
	l := r.lab
	t := l.T
	r.machines = []string{"db"}
	// The sockets of a controller that dies as its guest has stopped: from then on it reaches neither QEMU nor the agent.
	monitor, agent := l.socket("db", "qmp"), l.socket("db", "agent")
	_ = l.Driver.Close()
	dir := t.TempDir()
	ends := filepath.Join(dir, filepath.Base(agent))
	l.must(os.Symlink(agent, ends))
	dying := &mortal{last: func(command []byte) bool {
		if !bytes.Contains(command, []byte(`"stop"`)) {
			return false
		}
		if err := os.Remove(ends); err != nil {
			t.Error(err)
		}
		return true
	}}
	other, err := New(Config{Dir: l.dir, SocketDir: dir, Accel: "tcg"})
	l.must(err)
	dying.serve(t, filepath.Join(dir, filepath.Base(monitor)), monitor)
	frozenReq := r.request()
	frozenReq.Freeze = true
	if _, err := other.Capture(ctx, frozenReq); err == nil {
		t.Fatal("a capture whose controller died")
	}
	_ = other.Close()
	<-dying.dead
	j, err := l.handle("db").readJournal()
	l.must(err)
	note, err := os.ReadFile(l.handle("db").quietPath())
	if j == nil || !j.Stopped || !bytes.Contains(note, []byte(`"frozen":true`)) {
		t.Fatalf("journal %+v, note %s, %v", j, note, err)
	}

	start := time.Now()
	l.reopen()
	took := time.Since(start)
	t.Logf("the next controller took %v", took)
	if st, err := l.handle("db").status(ctx); err != nil || !st.Running || took > 10*time.Second {
		t.Errorf("guest %+v, %v", st, err)
	}
	_, err = l.machine("db")
	l.must(err)
	a, err := l.handle("db").agent(ctx)
	l.must(err)
	frozen, err := a.Frozen(ctx)
	l.must(err)
	_ = a.Close()
	if frozen {
		t.Error("the guest's file systems are frozen")
	}
	l.must(l.Probe(ctx, "db", dr.Probe{Kind: dr.ProbeTCP, Port: 7000}))
	r.clean()
	c, req := r.begin()
	if full, _ := r.pull(c); full != nil {
		t.Errorf("full %v", full)
	}
	l.must(c.Commit(ctx))
	r.last = req.ID
}
