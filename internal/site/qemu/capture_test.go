package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

// replica is what somebody who follows the captures of a group holds.
type replica struct {
	*lab
	machines []string
	last     string // committed capture
	n        int
	disks    map[dr.DiskID][]byte
}

func newReplica(l *lab, machines ...string) *replica {
	return &replica{lab: l, machines: machines, disks: map[dr.DiskID][]byte{}}
}

func (r *replica) request() site.CaptureRequest {
	r.n++
	return site.CaptureRequest{Group: "g", Machines: r.machines, ID: fmt.Sprintf("c%d", r.n), Since: r.last}
}

func (r *replica) begin() (site.Capture, site.CaptureRequest) {
	r.Helper()
	req := r.request()
	c, err := r.Capture(r.Context(), req)
	r.must(err)
	return c, req
}

// pull applies what changed, as replication does.
func (r *replica) pull(c site.Capture) (full []string, moved int64) {
	r.Helper()
	for _, d := range c.Disks() {
		ch, err := d.Changes(r.Context())
		r.must(err)
		have := make([]byte, d.Size())
		copy(have, r.disks[d.ID()])
		end := int64(0)
		for _, e := range ch.Extents {
			if e.Offset < end || e.Length <= 0 || e.Offset%dr.BlockSize != 0 || e.End() > d.Size() || (e.Length%dr.BlockSize != 0 && e.End() != d.Size()) {
				r.Fatalf("%s: extents %+v", d.ID(), ch.Extents)
			}
			end = e.End()
			part := have[e.Offset:e.End()]
			if e.Zero {
				clear(part)
				continue
			}
			moved += e.Length
			if n, err := d.ReadAt(part, e.Offset); n < len(part) {
				r.Fatalf("%v (hint: %s)", err, dr.Hint(err))
			}
		}
		if ch.Full {
			full = append(full, d.ID().String()+": "+ch.Reason)
		}
		r.disks[d.ID()] = have
	}
	return full, moved
}

// cycle captures, pulls, compares bit for bit and commits.
func (r *replica) cycle(want map[dr.DiskID][]byte) (full []string, moved int64) {
	r.Helper()
	c, req := r.begin()
	full, moved = r.pull(c)
	r.compare(want)
	r.must(c.Commit(r.Context()))
	r.must(c.Commit(r.Context()))
	r.last = req.ID
	r.clean()
	return full, moved
}

func (r *replica) compare(want map[dr.DiskID][]byte) {
	r.Helper()
	for id, w := range want {
		got := r.disks[id]
		if !bytes.Equal(got, w) {
			i := 0
			for i < min(len(got), len(w)) && got[i] == w[i] {
				i++
			}
			r.Fatalf("%s: replica of %d bytes differs from the disk of %d at %d", id, len(got), len(w), i)
		}
	}
}

// clean checks that a capture left nothing but bitmaps.
func (r *replica) clean() {
	r.Helper()
	for _, name := range r.machines {
		m := r.handle(name)
		for _, pattern := range []string{"fleece/*.qcow2", "capture.json"} {
			if left, _ := filepath.Glob(filepath.Join(m.dir(), pattern)); len(left) > 0 {
				r.Errorf("files left: %v", left)
			}
		}
		if !m.running() {
			continue
		}
		c, err := m.monitor(r.Context())
		r.must(err)
		var nodes []blockNode
		r.must(c.Run(r.Context(), "query-named-block-nodes", map[string]any{"flat": true}, &nodes))
		for _, n := range nodes {
			if strings.HasPrefix(n.Node, "us-") {
				r.Errorf("machine %s: node %s is left", name, n.Node)
			}
			if named := bitmapsOf([]blockNode{n}, n.Node); len(named) > 1 {
				r.Errorf("machine %s: node %s has %d bitmaps", name, n.Node, len(named))
			}
		}
		st, err := m.status(r.Context())
		r.must(err)
		if !st.Running {
			r.Errorf("machine %s is %s", name, st.Status)
		}
	}
}

// content reads the active disk of a running machine independently of captures. Nothing writes meanwhile: the guests of
// these tests have no system.
func (r *replica) content(ids ...dr.DiskID) map[dr.DiskID][]byte {
	r.Helper()
	all := map[dr.DiskID][]byte{}
	for _, id := range ids {
		r.guestIO(id, "flush")
		path := r.diskPath(id)
		if filepath.Ext(path) == ".raw" {
			b, err := os.ReadFile(path)
			r.must(err)
			all[id] = b
			continue
		}
		raw := filepath.Join(r.TempDir(), "raw")
		if out, err := exec.CommandContext(r.Context(), "qemu-img", "convert", "-U", "-O", "raw", path, raw).CombinedOutput(); err != nil {
			r.Fatalf("qemu-img: %v: %s", err, out)
		}
		b, err := os.ReadFile(raw)
		r.must(err)
		all[id] = b
	}
	return all
}

func (r *replica) diskPath(id dr.DiskID) string {
	r.Helper()
	m, err := r.machine(id.Machine)
	r.must(err)
	for _, d := range m.def().Disks {
		if d.Name == id.Disk {
			return d.Path
		}
	}
	r.Fatalf("no disk %s", id)
	return ""
}

const pairYAML = `name: %s
memory: 32MiB
disks:
  - {name: q, path: %s-q.qcow2, format: qcow2}
  - {name: r, path: %s-r.raw, format: raw}
`

func (l *lab) pair(names ...string) (ids []dr.DiskID) {
	l.Helper()
	for _, n := range names {
		l.define(n, fmt.Sprintf(pairYAML, n, n, n), n+"-q.qcow2", n+"-r.raw")
		l.must(l.Power(l.Context(), n, site.PowerStart))
		ids = append(ids, dr.DiskID{Machine: n, Disk: "q"}, dr.DiskID{Machine: n, Disk: "r"})
	}
	return ids
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func TestCaptureCycles(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a", "b")
	r := newReplica(l, "b", "a")
	for i, id := range ids {
		l.write(id, int64(i)<<16, fill(byte(i+1), 100_000))
	}
	if full, _ := r.cycle(r.content(ids...)); len(full) != 4 || !strings.Contains(full[0], "first capture") {
		t.Errorf("first capture: %v", full)
	}
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 0 {
		t.Errorf("nothing changed: moved %d, full %v", moved, full)
	}

	// Writes between the instant and the commit belong to the next capture, those at both sides to both.
	l.write(ids[0], 1<<20, fill(7, 4096))
	want := r.content(ids...)
	c, req := r.begin()
	for _, id := range ids {
		l.write(id, 1<<20, fill(8, 4096))
		l.write(id, 3<<20, fill(9, 70_000))
	}
	if full, moved := r.pull(c); full != nil || moved != 16<<10 {
		t.Errorf("moved %d, full %v", moved, full)
	}
	r.compare(want)
	r.must(c.Commit(l.Context()))
	r.last = req.ID
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved > 4*(16<<10+96<<10) {
		t.Errorf("moved %d, full %v", moved, full)
	}

	// A trimmed area is told as zeros.
	l.guestIO(ids[0], "write -z 3M 1M")
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 0 {
		t.Errorf("zeros moved %d bytes, full %v", moved, full)
	}

	// Abort: the next capture since the same point sees what was changed before and after.
	l.write(ids[1], 0, fill(11, 4096))
	c, _ = r.begin()
	l.write(ids[1], 2<<20, fill(12, 4096))
	r.must(c.Abort(l.Context()))
	r.must(c.Abort(l.Context()))
	if err := c.Commit(l.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("commit after abort: %v", err)
	}
	r.clean()
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 2*4096 { // the raw file has holes of 4 KiB
		t.Errorf("after an abort: moved %d, full %v", moved, full)
	}
}

func TestCaptureGroups(t *testing.T) {
	l := newLab(t)
	l.pair("a")
	r := newReplica(l, "a")
	c, _ := r.begin()
	_, err := l.Capture(l.Context(), site.CaptureRequest{Group: "other", Machines: []string{"a"}, ID: "x"})
	l.wantKind(err, dr.KindConflict)
	// The same group again: its earlier caller has gone.
	c2, req := r.begin()
	if err := c.Commit(l.Context()); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("commit of a capture that was superseded: %v", err)
	}
	r.pull(c2)
	r.must(c2.Commit(l.Context()))
	r.last = req.ID
	r.clean()
	// Another group's tracking is its own.
	other, err := l.Capture(l.Context(), site.CaptureRequest{Group: "other", Machines: []string{"a"}, ID: "x"})
	l.must(err)
	l.must(other.Commit(l.Context()))
	if full, _ := r.pull(func() site.Capture { c, _ := r.begin(); return c }()); full != nil {
		t.Errorf("full %v", full)
	}
}

func TestCaptureRestarts(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	r := newReplica(l, "a")
	r.cycle(r.content(ids...))
	start := func() { l.must(l.Power(l.Context(), "a", site.PowerStart)) }
	quit := func() {
		ctx, cancel := context.WithTimeout(l.Context(), time.Millisecond) // nobody listens in there
		defer cancel()
		m := l.handle("a")
		unlock, err := m.lock(l.Context())
		l.must(err)
		defer unlock()
		<-ctx.Done()
		l.must(m.quit("test"))
	}

	// A clean restart in the middle of a capture keeps the bitmaps of qcow2, not those of raw.
	l.write(ids[0], 0, fill(1, 4096))
	l.write(ids[1], 0, fill(2, 4096))
	c, _ := r.begin()
	l.write(ids[0], 1<<20, fill(3, 4096))
	quit()
	if _, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0); err == nil || dr.Hint(err) == "" {
		t.Errorf("reading after QEMU ended: %v", err)
	}
	r.must(c.Abort(l.Context()))
	start()
	full, moved := r.cycle(r.content(ids...))
	if len(full) != 1 || !strings.HasPrefix(full[0], "a/r: no bitmap") || moved == 0 {
		t.Errorf("after a clean restart: moved %d, full %v", moved, full)
	}

	// Killed in the middle of a capture: neither can be trusted.
	c, _ = r.begin()
	l.write(ids[0], 2<<20, fill(4, 4096))
	r.guestIO(ids[0], "flush")
	l.must(l.Power(l.Context(), "a", site.PowerKill))
	if _, err := c.Disks()[0].Changes(l.Context()); err == nil {
		_, err = c.Disks()[0].ReadAt(make([]byte, 4096), 0)
		if err == nil {
			t.Error("a capture of a dead machine can be read")
		}
	}
	r.must(c.Abort(l.Context()))
	r.clean()
	start()
	full, _ = r.cycle(r.content(ids...))
	if len(full) != 2 || !strings.Contains(full[0], "bitmap") {
		t.Errorf("after a kill: full %v", full)
	}

	// Stopped: compared in full once, then told by its stamp; a write from outside is found.
	quit()
	want := r.content()
	if full, _ := r.cycle(want); len(full) != 2 || !strings.Contains(full[0], "stopped") {
		t.Errorf("stopped: %v", full)
	}
	if full, moved := r.cycle(want); full != nil || moved != 0 {
		t.Errorf("stopped and unchanged: moved %d, full %v", moved, full)
	}
	if out, err := exec.CommandContext(l.Context(), "qemu-io", "-f", "raw", "-c", "write -P 5 3M 4k", r.diskPath(ids[1])).CombinedOutput(); err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
	if full, _ := r.cycle(want); len(full) != 1 || r.disks[ids[1]][3<<20] != 5 {
		t.Errorf("stopped and written to: %v", full)
	}
	// A start ends the capture of a stopped machine.
	l.must(os.Chtimes(r.diskPath(ids[0]), time.Now(), time.Now()))
	c, _ = r.begin()
	if _, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0); err != nil {
		t.Error(err)
	}
	start()
	if _, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0); !errors.Is(err, errStarted) {
		t.Errorf("reading after a start: %v", err)
	}
	r.must(c.Abort(l.Context()))
	r.cycle(r.content(ids...))
}

func TestCaptureGrowthAndSnapshot(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	r := newReplica(l, "a")
	r.cycle(r.content(ids...))
	c, err := l.handle("a").monitor(l.Context())
	l.must(err)
	for _, id := range ids {
		l.must(c.Run(l.Context(), "block_resize", map[string]any{"node-name": formatNode(id.Disk), "size": 6 << 20}, nil))
		l.write(id, 5<<20, fill(6, 4096))
	}
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved == 0 || moved > 256<<10 {
		t.Errorf("grown: moved %d, full %v", moved, full)
	}
	if full, moved := r.cycle(r.content(ids...)); full != nil || moved != 0 {
		t.Errorf("after growth: moved %d, full %v", moved, full)
	}
	// Somebody takes an external snapshot: the bitmap stays below and sees nothing any more.
	overlay := filepath.Join(t.TempDir(), "overlay.qcow2")
	l.must(c.Run(l.Context(), "blockdev-snapshot-sync", map[string]any{
		"node-name": formatNode("q"), "snapshot-file": overlay, "snapshot-node-name": "over", "format": "qcow2",
	}, nil))
	l.write(ids[0], 0, fill(13, 4096))
	cp, req := r.begin()
	full, _ := r.pull(cp)
	if len(full) != 1 || !strings.HasPrefix(full[0], "a/q: no bitmap") || r.disks[ids[0]][0] != 13 {
		t.Errorf("after a snapshot: full %v", full)
	}
	r.must(cp.Commit(l.Context()))
	r.last = req.ID
	l.write(ids[0], 0, fill(14, 4096))
	cp, _ = r.begin()
	full, _ = r.pull(cp)
	if full != nil || r.disks[ids[0]][0] != 14 {
		t.Errorf("second after a snapshot: full %v", full)
	}
	r.must(cp.Commit(l.Context()))
}

// A fleece store that cannot take what the guest overwrites breaks the capture and not the guest.
func TestCaptureFleeceFull(t *testing.T) {
	l := newLab(t)
	l.define("a", fmt.Sprintf(pairYAML, "a", "a", "a"), "a-q.qcow2", "a-r.raw")
	id := dr.DiskID{Machine: "a", Disk: "q"}
	// Half a mebibyte by the configured limit; then less than that because the file system filled up meanwhile.
	run := l.smallFileSystem("a", 16)
	l.must(l.Power(l.Context(), "a", site.PowerStart))
	r := newReplica(l, "a")
	l.write(id, 0, fill(1, 4<<20))
	r.cycle(r.content(id))
	breaks := func(prepare func()) {
		t.Helper()
		l.write(id, 0, fill(2, 4096))
		c, _ := r.begin()
		prepare()
		start := time.Now()
		l.write(id, 0, fill(3, 4<<20))
		t.Logf("the guest wrote 4 MiB in %v", time.Since(start))
		_, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0)
		if err == nil || !strings.Contains(dr.Hint(err), "fleece") {
			t.Errorf("read of a broken snapshot: %v", err)
		}
		l.write(id, 1<<20, fill(4, 1<<20))
		if st, err := l.handle("a").status(l.Context()); err != nil || !st.Running {
			t.Errorf("guest %+v, %v", st, err)
		}
		r.must(c.Abort(l.Context()))
		_ = os.Remove(filepath.Join(l.handle("a").fleeceDir(), "filler"))
		l.cfg.FleeceLimit = 0
		if full, moved := r.cycle(r.content(id)); full != nil || moved != 4<<20 {
			t.Errorf("after a broken capture: moved %d, full %v", moved, full)
		}
	}
	l.cfg.FleeceLimit = 512 << 10
	breaks(func() {})
	if run == "" {
		t.Skip("without privileges no small file system can be filled or frozen")
	}
	breaks(func() {
		f, err := os.Create(filepath.Join(run, "filler"))
		l.must(err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		l.must(f.Close())
	})
	// A store that does not answer at all holds one write up for as long as the timeout says.
	l.cfg.FleeceTimeout = time.Second
	need.Tool(t, "fsfreeze")
	thaw := func() { _ = exec.Command("fsfreeze", "-u", run).Run() }
	t.Cleanup(thaw)
	l.write(id, 0, fill(5, 4096))
	c, _ := r.begin()
	l.must(exec.CommandContext(l.Context(), "fsfreeze", "-f", run).Run())
	start := time.Now()
	l.write(id, 0, fill(6, 4096))
	l.write(id, 0, fill(7, 1<<20))
	took := time.Since(start)
	thaw()
	if took < 900*time.Millisecond || took > 4*time.Second {
		t.Errorf("with a frozen fleece store the guest wrote for %v", took)
	}
	if _, err := c.Disks()[0].ReadAt(make([]byte, 4096), 0); err == nil {
		t.Error("a broken snapshot can be read")
	}
	r.must(c.Abort(l.Context()))
	if full, _ := r.cycle(r.content(id)); full != nil {
		t.Errorf("after a broken capture: full %v", full)
	}
}

// smallFileSystem puts the machine's run folder on an ext4 of so many MiB, or returns "".
func (l *lab) smallFileSystem(machine string, mib int64) string {
	l.Helper()
	dir := l.handle(machine).fleeceDir()
	l.must(os.MkdirAll(dir, 0o700))
	img := filepath.Join(l.TempDir(), "fs")
	l.must(os.WriteFile(img, nil, 0o600))
	l.must(os.Truncate(img, mib<<20))
	if exec.Command("mkfs.ext4", "-q", "-F", img).Run() != nil || exec.Command("mount", "-o", "loop", img, dir).Run() != nil {
		return ""
	}
	l.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = l.Power(ctx, machine, site.PowerKill)
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			_ = exec.Command("umount", "-l", dir).Run()
			l.Errorf("umount: %s", out)
		}
	})
	return dir
}

func TestFleeceImage(t *testing.T) {
	need.Tool(t, "qemu-img", "qemu-io")
	for _, size := range []int64{512, 4 << 20, 64<<30 + 512, 1 << 40, 64 << 40} {
		path := filepath.Join(t.TempDir(), "f")
		if err := createFleece(path, size, 8<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", "check", "-f", "qcow2", path).CombinedOutput(); err != nil {
			t.Errorf("%d: %v: %s", size, err, out)
		}
		at := max(size-4096, 0)
		out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -P 1 %d 512", at), "-c", fmt.Sprintf("read -P 1 %d 512", at), path).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("read 512/512")) {
			t.Errorf("%d: %v: %s", size, err, out)
		}
		img, err := readImage(path, "qcow2")
		if err != nil || img.Size != size {
			t.Errorf("%d: %+v, %v", size, img, err)
		}
	}
	if err := createFleece(filepath.Join(t.TempDir(), "f"), 1<<40, 64<<10); err == nil {
		t.Error("an image in less space than its tables need")
	}
}

func TestTrackSince(t *testing.T) {
	p := bitmapPrefix("g")
	rec := func(id string) bitmap { return bitmap{Name: p + id, Recording: true} }
	off := func(id string) bitmap { return bitmap{Name: p + id} }
	bad := func(id string) bitmap { return bitmap{Name: p + id, Inconsistent: true} }
	for _, tt := range []struct {
		name    string
		bitmaps []bitmap
		since   string
		want    string
		other   string
	}{
		{"none wanted", []bitmap{rec("1")}, "", "full: first capture", ""},
		{"absent", nil, "1", "full: no bitmap", ""},
		{"plain", []bitmap{rec("1"), {Name: "foreign", Recording: true}}, "1", "1", ""},
		{"other group", []bitmap{{Name: bitmapPrefix("h") + "1", Recording: true}}, "1", "full: no bitmap", ""},
		{"died before abort", []bitmap{off("1"), rec("2")}, "1", "1+2", ""},
		{"died in commit", []bitmap{off("1"), rec("2")}, "2", "2", ""},
		{"died twice", []bitmap{off("1"), rec("2"), rec("3")}, "1", "1+2+3", ""},
		{"stopped", []bitmap{off("1")}, "1", "full: bitmap was stopped", ""},
		{"inconsistent", []bitmap{bad("1")}, "1", "full: bitmap inconsistent", ""},
		{"partly inconsistent", []bitmap{off("1"), rec("2"), bad("3")}, "1", "full: bitmap was stopped", ""},
		{"of another", []bitmap{rec("2")}, "1", "full: bitmap is of another capture", ""},
		{"busy", []bitmap{{Name: p + "1", Recording: true, Busy: true}}, "1", "full: bitmap is in use", ""},
		{"of an earlier one", []bitmap{rec("1")}, "2", "1", p + "1"},
		{"of an earlier one, died before abort", []bitmap{off("1"), rec("3")}, "2", "1+3", p + "1"},
		{"of an earlier one that is gone", []bitmap{rec("3")}, "2", "full: bitmap is of another capture", p + "1"},
	} {
		got := trackSince(tt.bitmaps, "g", tt.since, tt.other)
		s := "full: " + got.reason
		if got.since != "" {
			s = strings.TrimPrefix(got.since, p)
			slices.Sort(got.fold)
			for _, f := range got.fold {
				s += "+" + strings.TrimPrefix(f, p)
			}
		}
		if !strings.HasPrefix(s, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

func TestRoundExtents(t *testing.T) {
	const b = dr.BlockSize
	got := roundExtents([]dr.Extent{
		{Offset: 0, Length: b + 512, Zero: true}, {Offset: b + 512, Length: 512}, {Offset: b + 1024, Length: b, Zero: true},
		{Offset: 2*b + 1024, Length: 2*b - 1024, Zero: true}, {Offset: 4 * b, Length: 100}, {Offset: 4*b + 100, Length: 100, Zero: true},
	}, 4*b+200)
	want := []dr.Extent{{Offset: 0, Length: b, Zero: true}, {Offset: b, Length: b}, {Offset: 2 * b, Length: 2 * b, Zero: true}, {Offset: 4 * b, Length: 200}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
