package qemu

import (
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
// they stand still; frozen captures hold file systems that need no repair.
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
		l.must(l.Power(t.Context(), name, site.PowerStart))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
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
}
