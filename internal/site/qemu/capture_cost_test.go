package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// An idle cycle costs the same few milliseconds for a large disk as for a small one.
func TestCaptureIdleCost(t *testing.T) {
	l := newQuietLab(t)
	median := map[string]time.Duration{}
	for _, disks := range []int{1, 2} {
		for _, gib := range []int64{4, 64} {
			name := fmt.Sprintf("d%d-%d", disks, gib)
			yaml := fmt.Sprintf("name: %s\nmemory: 32MiB\ndisks:\n  - {name: q, path: %s.qcow2, format: qcow2}\n", name, name)
			l.must(createFleece(filepath.Join(l.dir, "machines", name+".qcow2"), gib<<30, fleeceLeast))
			if disks == 2 {
				yaml += fmt.Sprintf("  - {name: r, path: %s.raw, format: raw}\n", name)
				raw := filepath.Join(l.dir, "machines", name+".raw")
				l.must(os.WriteFile(raw, nil, 0o600))
				l.must(os.Truncate(raw, gib<<30))
			}
			l.define(name, yaml)
			l.must(l.Power(l.Context(), name, site.PowerStart))
			median[name] = l.idleCycles(name, 21)
			l.must(l.Power(l.Context(), name, site.PowerKill))
		}
	}
	for name, took := range median {
		if took > 100*time.Millisecond {
			t.Errorf("%s: an idle cycle takes %v", name, took)
		}
	}
	if median["d2-64"] > 3*median["d2-4"]+10*time.Millisecond {
		t.Errorf("an idle cycle of 64 GiB takes %v, of 4 GiB %v", median["d2-64"], median["d2-4"])
	}
}

// idleCycles is the median time of so many captures of a machine that nobody writes to, each given up as replication
// does when nothing changed.
func (l *lab) idleCycles(name string, count int) time.Duration {
	l.Helper()
	r := newReplica(l, name)
	first, req := r.begin()
	l.must(first.Commit(l.Context()))
	r.last = req.ID
	var all []time.Duration
	for range count {
		start := time.Now()
		c, _ := r.begin()
		for _, d := range c.Disks() {
			if ch, err := d.Changes(l.Context()); err != nil || ch.Full || len(ch.Extents) > 0 {
				l.Fatalf("%s: %+v, %v", d.ID(), ch, err)
			}
		}
		l.must(c.Abort(l.Context()))
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	l.write(dr.DiskID{Machine: name, Disk: "q"}, 1<<30, fill(1, 1<<20))
	start := time.Now()
	c, _ := r.begin()
	ch, err := c.Disks()[0].Changes(l.Context())
	l.must(err)
	if len(ch.Extents) != 1 || ch.Extents[0].Length != 1<<20 {
		l.Errorf("changes %+v", ch)
	}
	changed := time.Since(start)
	l.must(c.Commit(l.Context()))
	l.Logf("%s: idle cycle median %.1f ms, least %.1f, most %.1f; with a write %.1f ms and %.1f ms to commit, paused %.1f ms", name,
		ms(all[count/2]), ms(all[0]), ms(all[count-1]), ms(changed), ms(time.Since(start)-changed), ms(c.Paused()))
	return all[count/2]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }
