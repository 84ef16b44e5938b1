package sitetest

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// ability returns the optional ability T of the site under test, and skips the test of a site without it.
func ability[T any](s *suite) T {
	s.Helper()
	a, ok := s.Driver.(T)
	if !ok {
		s.Skipf("the site under test is no %T", (*T)(nil))
	}
	return a
}

func (s *suite) command() {
	c := ability[site.Commander](s)
	_, err := c.Command(s.ctx, "no-such-machine", site.Command{Argv: []string{"true"}})
	s.wantKind(err, dr.KindNotFound)
	if !s.Programs {
		return // the site tests Command on a machine that does
	}
	Command(s.ctx, s.T, s.Driver.(site.Commander), s.Machine)
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerKill))
	_, err = c.Command(s.ctx, s.Machine, site.Command{Argv: []string{"true"}})
	s.wantKind(err, dr.KindUnavailable)
}

// Command tests a Commander on a machine that runs and has a POSIX shell.
func Command(ctx context.Context, t *testing.T, c site.Commander, machine string) {
	t.Helper()
	tests := []struct {
		name string
		site.Command
		want site.CommandResult
	}{
		{"silent", site.Command{Argv: []string{"true"}}, site.CommandResult{}},
		{"exit code", site.Command{Argv: []string{"sh", "-c", "exit 7"}}, site.CommandResult{ExitCode: 7}},
		{"output", site.Command{Argv: []string{"sh", "-c", "echo out; echo err >&2"}},
			site.CommandResult{Stdout: []byte("out\n"), Stderr: []byte("err\n")}},
		{"input", site.Command{Argv: []string{"cat"}, Stdin: []byte("a\x00b\nc")}, site.CommandResult{Stdout: []byte("a\x00b\nc")}},
		{"environment", site.Command{Argv: []string{"sh", "-c", "echo $GREETING, $1", "sh", "two words"}, Env: []string{"GREETING=hello there"}},
			site.CommandResult{Stdout: []byte("hello there, two words\n")}},
		{"killed by a signal", site.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, site.CommandResult{ExitCode: 137}},
	}
	for _, tt := range tests {
		got, err := c.Command(ctx, machine, tt.Command)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got.ExitCode != tt.want.ExitCode || !bytes.Equal(got.Stdout, tt.want.Stdout) || !bytes.Equal(got.Stderr, tt.want.Stderr) || got.Truncated {
			t.Errorf("%s: got %d %q %q, want %d %q %q", tt.name, got.ExitCode, got.Stdout, got.Stderr, tt.want.ExitCode, tt.want.Stdout, tt.want.Stderr)
		}
	}
	for _, argv := range [][]string{nil, {"/no/such/program"}} {
		_, err := c.Command(ctx, machine, site.Command{Argv: argv})
		if dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("program %q: %v", argv, err)
		}
	}
	// Programs run beside each other: the first waits for a file that the second makes.
	var wg sync.WaitGroup
	wg.Go(func() {
		wait := "n=0; until rm /tmp/sitetest-beside 2>/dev/null; do sleep 1; n=$((n+1)); [ $n -lt 60 ] || exit 9; done"
		if got, err := c.Command(ctx, machine, site.Command{Argv: []string{"sh", "-c", wait}}); err != nil || got.ExitCode != 0 {
			t.Errorf("the waiting program: %+v, %v", got, err)
		}
	})
	if got, err := c.Command(ctx, machine, site.Command{Argv: []string{"sh", "-c", "echo > /tmp/sitetest-beside"}}); err != nil || got.ExitCode != 0 {
		t.Errorf("the program that is waited for: %+v, %v", got, err)
	}
	wg.Wait()
	// A program that nobody waits for any more is ended.
	short, cancel := context.WithCancelCause(ctx)
	why := errors.New("enough")
	cancel(why)
	if _, err := c.Command(short, machine, site.Command{Argv: []string{"sleep", "1000"}}); !errors.Is(err, why) {
		t.Errorf("a cancelled command: %v", err)
	}
}

func (s *suite) screenshot() {
	if s.NoScreen {
		if _, ok := s.Driver.(site.Screenshoter); ok {
			s.Error("the site shows screens after all")
		}
		return
	}
	sh := ability[site.Screenshoter](s)
	b, err := sh.Screenshot(s.ctx, s.Machine)
	s.must(err)
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil || img.Bounds().Dx() == 0 {
		s.Errorf("no picture: %v", err)
	}
	_, err = sh.Screenshot(s.ctx, "no-such-machine")
	s.wantKind(err, dr.KindNotFound)
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerKill))
	_, err = sh.Screenshot(s.ctx, s.Machine)
	s.wantKind(err, dr.KindUnavailable)
}

func (s *suite) console() {
	c := ability[site.ConsoleReader](s)
	_, err := c.Console(s.ctx, "no-such-machine", 10)
	s.wantKind(err, dr.KindNotFound)
	for _, limit := range []int{0, 5, 1 << 20} {
		b, err := c.Console(s.ctx, s.Machine, limit)
		s.must(err)
		if len(b) > limit || limit > len(s.Console) && !strings.Contains(string(b), s.Console) {
			s.Errorf("last %d bytes of the console: %q", limit, b)
		}
	}
}

// stopped returns a machine of the suite's own that is off, with disks a and b of 4 MiB; b ends in half a block.
func (s *suite) stopped() string {
	s.Helper()
	req := s.request()
	req.Machine.Disks = []dr.Disk{{Name: "a", Size: 4 << 20}, {Name: "b", Size: 4<<20 - 2048, Format: "raw"}}
	s.must(s.Driver.Provision(s.ctx, req))
	return req.Machine.Name
}

func (s *suite) open(machine, disk string, write bool) site.Disk {
	s.Helper()
	d, err := s.Driver.(site.DiskOpener).OpenDisk(s.ctx, machine, disk, write)
	s.must(err)
	return d
}

// put writes to a disk of a stopped machine, get reads a block of it.
func (s *suite) put(machine, disk string, off int64, p []byte) {
	s.Helper()
	d := s.open(machine, disk, true)
	n, err := d.WriteAt(p, off)
	if n != len(p) {
		s.Errorf("wrote %d of %d bytes", n, len(p))
	}
	s.must(errors.Join(err, d.Flush(), d.Close()))
}

func (s *suite) get(machine, disk string, off int64) []byte {
	s.Helper()
	d := s.open(machine, disk, false)
	p := s.read(d, off, dr.BlockSize)
	s.must(d.Close())
	return p
}

func (s *suite) wantBlock(machine, disk string, off int64, want byte) {
	s.Helper()
	if got := s.get(machine, disk, off); !bytes.Equal(got, block(want)) {
		s.Errorf("%s/%s at %d: %x..., want %x", machine, disk, off, got[:4], want)
	}
}

func (s *suite) openDisk() {
	ability[site.DiskOpener](s)
	name := s.stopped()
	for _, disk := range []string{"a", "b"} {
		d := s.open(name, disk, true)
		size := d.Size()
		if want := map[string]int64{"a": 4 << 20, "b": 4<<20 - 2048}[disk]; size != want {
			s.Errorf("size of %s: %d, want %d", disk, size, want)
		}
		writes := []struct {
			off int64
			p   []byte
		}{{0, block(1)}, {far + 100, []byte("odd place")}, {size - 7, []byte("the end")}, {1 << 20, bytes.Repeat([]byte{9}, 1<<20)}}
		for _, w := range writes {
			if n, err := d.WriteAt(w.p, w.off); n != len(w.p) || err != nil {
				s.Errorf("write %s at %d: %d, %v", disk, w.off, n, err)
			}
		}
		s.must(d.Zero(1<<20+100, 1<<19))
		for _, off := range []int64{-1, size - 3} {
			if _, err := d.WriteAt([]byte("beyond"), off); err == nil {
				s.Errorf("a write at %d of %d bytes", off, size)
			}
			if d.Zero(off, 6) == nil {
				s.Errorf("zeros at %d of %d bytes", off, size)
			}
		}
		s.must(d.Flush())
		s.must(d.Close())
		s.must(d.Close())
		if _, err := d.ReadAt(make([]byte, 1), 0); err == nil {
			s.Error("a closed disk was read")
		}

		d = s.open(name, disk, false)
		for _, w := range writes[:3] {
			if got := s.read(d, w.off, len(w.p)); !bytes.Equal(got, w.p) {
				s.Errorf("read %s at %d: %q", disk, w.off, got)
			}
		}
		if n, err := d.ReadAt(make([]byte, 10), size-4); n != 4 || err != io.EOF {
			s.Errorf("read across the end: %d, %v", n, err)
		}
		want := bytes.Repeat([]byte{9}, 1<<20)
		clear(want[100 : 100+1<<19])
		if !bytes.Equal(s.read(d, 1<<20, 1<<20), want) {
			s.Error("zeros are not where they were asked for")
		}
		if _, err := d.WriteAt(block(2), 0); err == nil {
			s.Error("a disk opened for reading was written to")
		}
		s.extents(d)
		s.must(d.Close())
	}
	_, err := s.Driver.(site.DiskOpener).OpenDisk(s.ctx, name, "none", false)
	s.wantKind(err, dr.KindNotFound)
	_, err = s.Driver.(site.DiskOpener).OpenDisk(s.ctx, "no-such-machine", "a", false)
	s.wantKind(err, dr.KindNotFound)
}

// extents checks that they cover what is asked for and call nothing zero that is not.
func (s *suite) extents(d site.Disk) {
	s.Helper()
	for _, r := range []dr.Extent{{Length: d.Size()}, {Offset: far, Length: 2 << 20}, {Offset: 512, Length: 512}} {
		list, err := d.Extents(s.ctx, r.Offset, r.Length)
		s.must(err)
		next := r.Offset
		for _, e := range list {
			if e.Offset != next || e.Length <= 0 {
				s.Fatalf("extents of %v: %v", r, list)
			}
			next = e.End()
			if p := s.read(d, e.Offset, int(e.Length)); e.Zero && !bytes.Equal(p, make([]byte, e.Length)) {
				s.Errorf("extent %v is not zero", e)
			}
		}
		if next != r.End() {
			s.Errorf("extents of %v end at %d", r, next)
		}
	}
	list, err := d.Extents(s.ctx, 0, d.Size())
	s.must(err)
	if !slices.ContainsFunc(list, func(e dr.Extent) bool { return e.Zero }) {
		s.Errorf("a mostly empty disk without known zeros: %v", list)
	}
}

// openDiskAlone: what goes together with an open disk, and what does not.
func (s *suite) openDiskAlone() {
	o := ability[site.DiskOpener](s)
	name := s.stopped()
	w := s.open(name, "a", true)
	b := s.open(name, "b", true) // another disk
	for _, write := range []bool{true, false} {
		_, err := o.OpenDisk(s.ctx, name, "a", write)
		s.wantKind(err, dr.KindConflict)
	}
	s.wantKind(s.Driver.Power(s.ctx, name, site.PowerStart), dr.KindConflict)
	s.wantKind(s.Driver.Delete(s.ctx, name), dr.KindConflict)
	if p, ok := o.(site.Preserver); ok {
		s.wantKind(p.Preserve(s.ctx, name), dr.KindConflict)
	}
	s.must(errors.Join(w.Close(), b.Close()))
	r1, r2 := s.open(name, "a", false), s.open(name, "a", false)
	_, err := o.OpenDisk(s.ctx, name, "a", true)
	s.wantKind(err, dr.KindConflict)
	s.wantKind(s.Driver.Power(s.ctx, name, site.PowerStart), dr.KindConflict)
	s.must(errors.Join(r1.Close(), r2.Close()))
	s.must(s.Driver.Fence(s.ctx, name, true, "held"))
	s.put(name, "a", 0, block(3)) // also a held machine
	s.must(s.Driver.Fence(s.ctx, name, false, ""))
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	for _, write := range []bool{true, false} {
		_, err := o.OpenDisk(s.ctx, name, "a", write)
		s.wantKind(err, dr.KindConflict)
	}
	s.must(s.Driver.Power(s.ctx, name, site.PowerKill))
	s.wantBlock(name, "a", 0, 3)
}

// openDiskAfterRestart: a controller dies with disks open.
func (s *suite) openDiskAfterRestart() {
	ability[site.DiskOpener](s)
	if s.Restart == nil {
		s.Skip("the site under test cannot lose its controller")
	}
	name := s.stopped()
	for range 2 {
		w := s.open(name, "a", true)
		_, err := w.WriteAt(block(4), 0)
		s.must(errors.Join(err, w.Flush()))
		s.Driver = s.Restart(s)
		if _, err := w.ReadAt(make([]byte, 1), 0); err == nil {
			s.Error("a disk is open after the death of its controller")
		}
		s.wantBlock(name, "a", 0, 4)
		_ = w.Close()
	}
	s.open(name, "a", true)
	s.open(name, "b", false)
	s.Driver = s.Restart(s)
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	s.wantPower(name, dr.PowerOn)
}

// provisionFormats: without sources, disks have the format and size asked for.
func (s *suite) provisionFormats() {
	ability[site.DiskOpener](s)
	req := s.request()
	req.Machine.Disks = []dr.Disk{{Name: "any", Size: 2 << 20}, {Name: "raw", Size: 6 << 20, Format: "raw"}, {Name: "cow", Size: 8 << 20, Format: "qcow2"}}
	s.must(s.Driver.Provision(s.ctx, req))
	m, _ := s.find(req.Machine.Name)
	for i, d := range m.Disks {
		want := req.Machine.Disks[i]
		if d.Size != want.Size || want.Format != "" && d.Format != want.Format {
			s.Errorf("disk %+v, want %+v", d, want)
		}
		s.put(m.Name, d.Name, d.Size-dr.BlockSize, block(5))
	}
	s.must(s.Driver.Power(s.ctx, m.Name, site.PowerStart))
	s.must(s.Driver.Delete(s.ctx, m.Name))
	req.Machine.Disks[0].Format = "floppy"
	s.wantKind(s.Driver.Provision(s.ctx, req), dr.KindInvalid)
}

func (s *suite) preserver() (site.Preserver, string) {
	s.Helper()
	p := ability[site.Preserver](s)
	ability[site.DiskOpener](s)
	name := s.stopped()
	s.must(p.Settle(s.ctx, name, true)) // nothing was preserved
	s.must(p.Settle(s.ctx, name, false))
	s.wantKind(p.Preserve(s.ctx, "no-such-machine"), dr.KindNotFound)
	s.wantKind(p.Settle(s.ctx, "no-such-machine", true), dr.KindNotFound)
	s.put(name, "a", 0, block(1))
	s.put(name, "b", far, block(1))
	s.must(p.Preserve(s.ctx, name))
	s.must(p.Preserve(s.ctx, name))
	s.put(name, "a", 0, block(2))
	s.put(name, "b", far, block(2))
	s.must(p.Preserve(s.ctx, name)) // keeps what it kept
	s.wantBlock(name, "a", 0, 2)
	s.wantBlock(name, "b", far, 2)
	return p, name
}

// sameDisk compares disks by what every site understands.
func sameDisk(a, b dr.Disk) bool {
	a.Attributes, b.Attributes, a.Path, b.Path = nil, nil, "", ""
	return reflect.DeepEqual(a, b)
}

func (s *suite) preserveAccept() {
	p, name := s.preserver()
	before, _ := s.find(name)
	if s.Restart != nil {
		s.Driver = s.Restart(s)
		p = s.Driver.(site.Preserver)
	}
	s.must(p.Settle(s.ctx, name, true))
	s.must(p.Settle(s.ctx, name, true))
	s.must(p.Settle(s.ctx, name, false)) // too late, and does nothing
	s.wantBlock(name, "a", 0, 2)
	s.wantBlock(name, "b", far, 2)
	if after, _ := s.find(name); !slices.EqualFunc(before.Disks, after.Disks, sameDisk) {
		s.Errorf("disks %+v became %+v", before.Disks, after.Disks)
	}
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	s.must(s.Driver.Delete(s.ctx, name))
}

func (s *suite) preserveRevert() {
	p, name := s.preserver()
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	s.wantKind(p.Settle(s.ctx, name, false), dr.KindConflict) // while it runs
	s.must(s.Driver.Power(s.ctx, name, site.PowerKill))
	s.wantBlock(name, "a", 0, 2) // a start keeps both contents
	s.must(p.Settle(s.ctx, name, false))
	s.must(p.Settle(s.ctx, name, false))
	s.wantBlock(name, "a", 0, 1)
	s.wantBlock(name, "b", far, 1)
	s.put(name, "a", 0, block(3)) // and is written to as ever
	s.must(p.Preserve(s.ctx, name))
	s.must(s.Driver.Delete(s.ctx, name))
	s.must(s.Driver.Provision(s.ctx, s.request())) // nothing of what was kept comes back
}

// preserveRunning: the machine runs on what was written, and the layers go while it does.
func (s *suite) preserveRunning() {
	p, name := s.preserver()
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	s.wantKind(p.Preserve(s.ctx, s.Machine), dr.KindConflict)
	a := dr.DiskID{Machine: name, Disk: "a"}
	if s.Write != nil {
		s.Write(s, a, 1<<20, block(7))
	}
	s.must(p.Settle(s.ctx, name, true))
	s.wantPower(name, dr.PowerOn)
	s.must(p.Settle(s.ctx, name, true))
	if s.Write != nil {
		s.Write(s, a, 2<<20, block(8))
	}
	if s.Capture && s.Write != nil { // tracking works on what the disks are now
		c, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "kept", Machines: []string{name}, ID: "one"})
		s.must(err)
		s.must(c.Commit(s.ctx))
		s.Write(s, a, far, block(9))
		c, err = s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "kept", Machines: []string{name}, ID: "two", Since: "one"})
		s.must(err)
		d := s.captured(c, a)
		if ch := s.changes(d); ch.Full || !covers(ch, far) || covers(ch, 0) {
			s.Errorf("changes %+v", ch)
		}
		s.must(c.Commit(s.ctx))
	}
	s.must(s.Driver.Power(s.ctx, name, site.PowerKill))
	s.wantBlock(name, "a", 0, 2)
	s.wantBlock(name, "b", far, 2)
	if s.Write != nil {
		s.wantBlock(name, "a", 1<<20, 7)
		s.wantBlock(name, "a", 2<<20, 8)
	}
}
