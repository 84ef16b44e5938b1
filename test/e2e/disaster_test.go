package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest/shop"
	"understudy/internal/dr"
	"understudy/internal/site/qemu/qmp"
)

// TestDisasters lets one pair of sites live through everything that breaks it, on real machines that write all the
// time: first what replication must survive, then failovers. The parts build on each other.
func TestDisasters(t *testing.T) {
	r := newRig(t)
	s := &shopGroup{rig: r}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"replication begins", s.begin},
		{"controller killed while it replicates", s.killController},
		{"controller killed while guests stand still", s.killStanding},
		{"QEMU killed in a cycle", s.killQEMU},
		{"vault full", s.fillVault},
		{"segment corrupted", s.corrupt},
		{"planned failover", r.planned},
		{"controller killed in a failover", s.failover},
		{"split brain", s.splitBrain},
	} {
		began := time.Now()
		if !t.Run(part.name, part.run) && part.name == "replication begins" {
			return
		}
		t.Logf("%s: %.0f s", part.name, time.Since(began).Seconds())
	}
}

// shopGroup is the group of db and scribe.
type shopGroup struct {
	*rig
	east *acks
}

const group = "shop"

func (s *shopGroup) begin(t *testing.T) {
	s.define(t, db)
	s.define(t, scribe)
	s.main.configure(t, s.vault, map[string]string{"east": filepath.Join(s.dir, "east"), "west": filepath.Join(s.dir, "west")})
	if err := s.main.PowerMachine(t.Context(), "east", scribe.name, wire.Power{Action: "start"}); err != nil {
		t.Fatal(err)
	}
	s.east = s.boot(t, db.name)
	s.main.protect(t, group, "east", db, scribe)
	s.seeded(t, group)
	s.cycles(t, 1)
	waitNoise(t, s.image(scribe.name, "noise"))
}

// protect protects machines as one group from a site to west.
func (c *controller) protect(t *testing.T, group, site string, machines ...vm) {
	t.Helper()
	g := wire.Group{Name: group, Site: site, Target: "west", Vault: "main", Policy: "fast"}
	for i, m := range machines {
		gm := wire.GroupMachine{Name: m.name, Order: i}
		if m.port != 0 {
			gm.Probe = &wire.Probe{Kind: "tcp", Port: m.port, Timeout: wire.Duration(2 * time.Minute)}
		}
		g.Machines = append(g.Machines, gm)
	}
	if site == "west" {
		g.Target = "east"
	}
	if _, err := c.Protect(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

// waitNoise waits until a guest has written something to its disk of noise.
func waitNoise(t *testing.T, image string) {
	t.Helper()
	empty, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a write of the scribe", func() error {
		if st, err := os.Stat(image); err != nil || st.Size() > 1<<20 || st.Size() > empty.Size() {
			return err
		}
		return errors.New("the disk does not grow")
	})
}

func (r *rig) status(t *testing.T, group string) wire.Status {
	t.Helper()
	st, err := r.main.GroupStatus(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// cycles waits for so many more recovery points and returns the cycles that it saw make them.
func (s *shopGroup) cycles(t *testing.T, n int) (seen []wire.Cycle) {
	t.Helper()
	last := s.status(t, group).LastPoint
	eventually(t, 60*time.Second, fmt.Sprintf("recovery point %d after %s", n, last), func() error {
		st := s.status(t, group)
		if st.LastPoint != last && st.LastCycle != nil && st.LastCycle.Point == st.LastPoint {
			last = st.LastPoint
			seen = append(seen, *st.LastCycle)
		}
		if len(seen) < n {
			return fmt.Errorf("%s: %s", st.Replication, st.Error)
		}
		return nil
	})
	return seen
}

// points are the recovery points that the controller reports.
func (s *shopGroup) points(t *testing.T) []string {
	t.Helper()
	list, err := s.main.AllPoints(t.Context(), group, client.ListPointsQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

// keeps checks that every point reported earlier is still there.
func (s *shopGroup) keeps(t *testing.T, before []string) {
	t.Helper()
	now := s.points(t)
	for _, id := range before {
		if !slices.Contains(now, id) {
			t.Errorf("point %s was reported and is gone; left: %v", id, now)
		}
	}
}

// kills is how often the controller is killed while it replicates.
const kills = 12

func (s *shopGroup) killController(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	running := s.processes(t, "east")
	began := time.Now()
	kinds, reasons := map[string]int{}, map[string]int{}
	var reported []string
	var slowest time.Duration
	for i := range kills {
		if i%2 == 0 {
			// Any moment, which mostly is one between cycles.
			time.Sleep(time.Duration(random.Int64N(int64(rpo))))
		} else {
			// A moment in a cycle: its journal is written before the guests stand still.
			s.duringCapture(t, db.name)
			time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		}
		reported = s.points(t)
		s.main.kill(t)
		down := time.Now()
		s.main.start(t)
		c := s.cycles(t, 1)[0]
		slowest = max(slowest, time.Since(down))
		kinds[c.Kind]++
		if c.Reason != "" {
			reasons[c.Reason]++
		}
		s.keeps(t, reported)
	}
	silence := s.east.silence(began)
	t.Logf("%d kills: cycles after them %v %v; longest silence of the database %.1f s; a new point at most %.1f s after a kill",
		kills, kinds, reasons, silence.Seconds(), slowest.Seconds())
	if kinds["delta"] != kills {
		t.Errorf("a kill cost the change tracking: %v %v", kinds, reasons)
	}
	if silence > 5*time.Second {
		t.Errorf("the database stood still for %s", silence)
	}
	if now := s.processes(t, "east"); !maps.Equal(now, running) {
		t.Errorf("machines at east were %v, are %v", running, now)
	}
	s.east.goesOn(t)
	machines, err := s.main.ListMachines(t.Context(), "east")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		if m.Power != dr.PowerOn {
			t.Errorf("%s is %s", m.Name, m.Power)
		}
	}
	s.allOpen(t)
	s.records(t, s.east, group, db.name, reported[len(reported)-1])
}

// processes maps the machines of a site to their process.
func (s *shopGroup) processes(t *testing.T, site string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range []string{db.name, scribe.name} {
		pids := s.qemus(t, site, m)
		if len(pids) != 1 {
			t.Fatalf("%s at %s has the processes %v", m, site, pids)
		}
		found[m] = fmt.Sprintf("%s (start %d)", pids[0], s.starts(t, site, m))
	}
	return found
}

// duringCapture waits until a capture of a machine at east is under way.
func (s *shopGroup) duringCapture(t *testing.T, machine string) {
	t.Helper()
	journal := filepath.Join(s.dir, "east/run", machine, "capture.json")
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(journal); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no capture began within 30 s")
}

// allOpen opens every point and compares its disk of noise with what the scribe must have written by then.
func (s *shopGroup) allOpen(t *testing.T) {
	t.Helper()
	v := s.open(t)
	points, err := v.Points(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	at := uint64(0)
	for _, info := range points {
		p, err := v.OpenPoint(t.Context(), group, info.ID)
		if err != nil {
			t.Errorf("open %s: %v", info.ID, err)
			continue
		}
		d, err := p.Disk(dr.DiskID{Machine: scribe.name, Disk: "noise"})
		if err != nil {
			t.Errorf("%s: %v", info.ID, err)
			continue
		}
		n, err := noise(d, d.Size())
		if err != nil || n < at {
			t.Errorf("%s: after write %d, that of the point before was %d: %v", info.ID, n, at, err)
		}
		at = n
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d points open; the newest holds %d writes of the scribe", len(points), at)
}

// noise checks that a disk holds exactly the first writes of shop.Scribble, and returns how many. The guest must have
// booted once: each boot begins anew.
func noise(r io.ReaderAt, size int64) (writes uint64, err error) {
	disk := make([]byte, size)
	if _, err := r.ReadAt(disk, 0); err != nil {
		return 0, err
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	found := map[int64]uint64{}
	for off := int64(0); off < size; off += shop.ScribbleBlock {
		b := disk[off : off+shop.ScribbleBlock]
		n := binary.BigEndian.Uint64(b)
		if n == 0 {
			if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
				return 0, fmt.Errorf("block at %d is neither zero nor written", off)
			}
			continue
		}
		end := len(b) - 4
		if binary.BigEndian.Uint64(b[8:]) != uint64(off) || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], table) {
			return 0, fmt.Errorf("block at %d is torn", off)
		}
		found[off] = n
		writes = max(writes, n)
	}
	random := rand.NewChaCha8([32]byte{1})
	skip := make([]byte, shop.ScribbleBlock-4-16)
	want := map[int64]uint64{}
	for n := uint64(1); n <= writes; n++ {
		want[int64(random.Uint64()%uint64(size/shop.ScribbleBlock))*shop.ScribbleBlock] = n
		random.Read(skip)
	}
	if !maps.Equal(found, want) {
		return writes, fmt.Errorf("%d blocks were written, %d should have been, after write %d", len(found), len(want), writes)
	}
	return writes, nil
}

// records restores a db's disk of a point to a file, has its journal replayed, verifies every record, and compares those
// that were acknowledged. It returns the number of the newest.
func (r *rig) records(t *testing.T, a *acks, group, machine, point string) uint64 {
	t.Helper()
	dir := t.TempDir()
	img, log := filepath.Join(dir, "data.raw"), filepath.Join(dir, "records")
	r.main.must(t, "restore", "--vault", r.vault, "--group", group, "--point", point, "--disk", machine+"/data", img)
	// Exit code 1 says that the journal was replayed.
	if out, err := exec.Command("e2fsck", "-fy", img).CombinedOutput(); err != nil && !strings.Contains(string(out), "recovering journal") {
		t.Fatalf("e2fsck of %s: %v\n%s", point, err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", img).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck of %s: %v\n%s", point, err, out)
	}
	if out, err := exec.Command("debugfs", "-R", "dump /records "+log, img).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	l, rep, err := shop.OpenLog(log)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for n := uint64(1); n <= rep.Last; n++ {
		line := data[(n-1)*shop.RecordSize : n*shop.RecordSize]
		switch sum := a.sum(n); sum {
		case "":
		case string(line[shop.RecordSize-65 : shop.RecordSize-1]):
			compared++
		default:
			t.Fatalf("record %d of point %s is not the one that was acknowledged", n, point)
		}
	}
	if !rep.OK() || rep.Records == 0 {
		t.Errorf("records of point %s: %+v", point, rep)
	}
	t.Logf("point %s: %d good records, %d of them as they were acknowledged", point, rep.Records, compared)
	return rep.Last
}

// killStanding has the controller die in the few milliseconds of a cycle in which the guests stand still: the next one
// must let them go on.
func (s *shopGroup) killStanding(t *testing.T) {
	for try := range 10 {
		s.duringCapture(t, db.name)
		time.Sleep(time.Duration(4*try) * time.Millisecond)
		s.main.kill(t)
		standing := s.standing(t)
		s.main.start(t)
		s.east.goesOn(t)
		if c := s.cycles(t, 1)[0]; c.Kind != "delta" {
			t.Errorf("then %s %s", c.Kind, c.Reason)
		}
		if standing > 0 {
			t.Logf("kill %d left %d guests standing still", try+1, standing)
			return
		}
	}
	t.Log("no kill hit that moment")
}

// standing counts the guests at east that stand still, while no controller looks after them.
func (s *shopGroup) standing(t *testing.T) (n int) {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(s.dir, "east/run/s/*.qmp"))
	if err != nil || len(sockets) != 2 {
		t.Fatalf("monitors: %v %v", sockets, err)
	}
	for _, socket := range sockets {
		c, err := qmp.Dial(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		var st struct{ Status string }
		if err := errors.Join(c.Run(t.Context(), "query-status", nil, &st), c.Close()); err != nil {
			t.Fatal(err)
		}
		if st.Status == "paused" {
			n++
		}
	}
	return n
}

func (s *shopGroup) killQEMU(t *testing.T) {
	before := s.points(t)
	for _, wait := range []time.Duration{0, 30 * time.Millisecond} {
		s.cycles(t, 1)
		s.duringCapture(t, scribe.name)
		time.Sleep(wait)
		end(t, s.qemus(t, "east", scribe.name)[0])
		// A kill that comes too late for its cycle shows no error: a machine that is off can be captured.
		failed := s.failure(t)
		t.Logf("killed %s into the capture: error %q, hint %q", wait, failed.Error, failed.Hint)
		if failed.Error != "" && (!strings.Contains(failed.Error, "machine "+scribe.name) && !strings.Contains(failed.Error, scribe.name+"/") || failed.Hint == "") {
			t.Errorf("the error names no machine or has no hint: %s (%s)", failed.Error, failed.Hint)
		}
		if failed.Error == "" && wait == 0 {
			t.Error("the cycle did not fail")
		}
		if err := s.main.PowerMachine(t.Context(), "east", scribe.name, wire.Power{Action: "start"}); err != nil {
			t.Fatal(err)
		}
		for _, c := range s.cycles(t, 2) {
			t.Logf("then %s %s", c.Kind, c.Reason)
		}
	}
	s.keeps(t, before)
	s.east.goesOn(t)
	// At rest the newest point and the disks are the same.
	if err := s.main.Pause(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	if err := s.main.PowerMachine(t.Context(), "east", scribe.name, wire.Power{Action: "kill"}); err != nil {
		t.Fatal(err)
	}
	if err := s.main.Resume(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	c, err := s.main.Sync(t.Context(), group, client.SyncQuery{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with the scribe off: %s %s", c.Kind, c.Reason)
	for _, d := range scribe.disks {
		out := filepath.Join(t.TempDir(), d+".raw")
		s.main.must(t, "restore", "--vault", s.vault, "--group", group, "--point", "latest", "--disk", "scribe/"+d, "--format", "raw", out)
		if text, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", out, s.image(scribe.name, d)).CombinedOutput(); err != nil {
			t.Errorf("disk %s of the point and of the machine: %v %s", d, err, text)
		}
	}
	if err := s.main.PowerMachine(t.Context(), "east", scribe.name, wire.Power{Action: "start"}); err != nil {
		t.Fatal(err)
	}
	s.cycles(t, 1)
}

// failure waits for a failed cycle until two others have succeeded.
func (s *shopGroup) failure(t *testing.T) wire.Status {
	t.Helper()
	points := len(s.points(t))
	for {
		if st := s.status(t, group); st.Failures > 0 {
			return st
		}
		if len(s.points(t)) > points+1 {
			return wire.Status{}
		}
		time.Sleep(2 * time.Millisecond)
	}
}
