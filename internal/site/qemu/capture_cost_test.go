package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// An idle cycle costs the same few milliseconds for a large disk as for a small one.
func TestCaptureIdleCost(t *testing.T) {
	l := newLab(t)
	sizes := map[string]int64{"small": 4 << 30, "large": 64 << 30}
	best := map[string]time.Duration{}
	for name, size := range sizes {
		l.define(name, fmt.Sprintf("name: %s\nmemory: 32MiB\ndisks: [{name: q, path: %s.qcow2, format: qcow2}, {name: r, path: %s.raw, format: raw}]\n", name, name, name))
		raw := filepath.Join(l.dir, "machines", name+".raw")
		l.must(os.WriteFile(raw, nil, 0o600))
		l.must(os.Truncate(raw, size))
		l.must(createFleece(filepath.Join(l.dir, "machines", name+".qcow2"), size, fleeceLeast))
		l.must(l.Power(t.Context(), name, site.PowerStart))
		r := newReplica(l, name)
		best[name] = time.Hour
		var paused time.Duration
		for range 12 {
			start := time.Now()
			c, req := r.begin()
			if r.last != "" {
				for _, d := range c.Disks() {
					if ch, err := d.Changes(t.Context()); err != nil || ch.Full || len(ch.Extents) > 0 {
						t.Fatalf("%s: %+v, %v", d.ID(), ch, err)
					}
				}
			}
			l.must(c.Commit(t.Context()))
			took := time.Since(start)
			t.Logf("%s: %.1f ms, paused %.1f ms", name, took.Seconds()*1e3, c.Paused().Seconds()*1e3)
			if r.last != "" {
				best[name] = min(best[name], took)
			}
			r.last, paused = req.ID, max(paused, c.Paused())
		}
		l.write(dr.DiskID{Machine: name, Disk: "q"}, 1<<30, fill(1, 1<<20))
		start := time.Now()
		c, _ := r.begin()
		ch, err := c.Disks()[0].Changes(t.Context())
		l.must(err)
		if len(ch.Extents) != 1 || ch.Extents[0].Length != 1<<20 {
			t.Errorf("changes %+v", ch)
		}
		t.Logf("%s: capture and changes after a write %.1f ms", name, time.Since(start).Seconds()*1e3)
		l.must(c.Abort(t.Context()))
	}
	if best["large"] > 100*time.Millisecond || best["large"] > 3*best["small"]+10*time.Millisecond {
		t.Errorf("idle cycles: %v", best)
	}
}
