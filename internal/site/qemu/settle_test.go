package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// keep lets a stopped machine's disks hold b, kept, and then b+1 in the layers over them.
func (l *lab) keep(ids []dr.DiskID, b byte) {
	l.Helper()
	name := ids[0].Machine
	l.must(l.Power(l.Context(), name, site.PowerKill))
	l.putBlocks(ids, b)
	l.must(l.Preserve(l.Context(), name))
	l.putBlocks(ids, b+1)
}

const keptAt = 1 << 20

// putBlocks writes to disks of a stopped machine.
func (l *lab) putBlocks(ids []dr.DiskID, b byte) {
	l.Helper()
	for _, id := range ids {
		d, err := l.OpenDisk(l.Context(), id.Machine, id.Disk, true)
		l.must(err)
		_, err = d.WriteAt(fill(b, dr.BlockSize), keptAt)
		l.must(err)
		l.must(d.Close())
	}
}

func (l *lab) wantBlocks(what string, ids []dr.DiskID, off int64, b byte) {
	l.Helper()
	for _, id := range ids {
		d, err := l.OpenDisk(l.Context(), id.Machine, id.Disk, false)
		l.must(err)
		got := make([]byte, dr.BlockSize)
		_, err = d.ReadAt(got, off)
		l.must(err)
		l.must(d.Close())
		if !bytes.Equal(got, fill(b, dr.BlockSize)) {
			l.Fatalf("%s: %s at %d holds %d, want %d", what, id, off, got[0], b)
		}
	}
}

func (l *lab) wantSettled(what, name string) {
	l.Helper()
	if _, err := os.Stat(l.keptDir(name)); err == nil {
		l.Errorf("%s: layers are left", what)
	}
	for _, d := range l.handle(name).def().Disks {
		if d.Role == dr.RoleDisk && filepath.Dir(d.Path) != filepath.Join(l.dir, "machines") {
			l.Errorf("%s: the machine's disk is %s", what, d.Path)
		}
	}
}

// The controller dies after every single command that it sends to QEMU while it takes layers in, and QEMU with it or
// not. The guest goes on, nothing that was written is lost, and a later Settle ends it.
func TestSettleControllerDies(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	real := l.socket("a", "qmp")
	step, all := 13, os.Getenv("UNDERSTUDY_TEST_ALL") == "1"
	if all {
		step = 3
	}
	for n, done := 3, false; !done; n += step {
		for _, both := range []bool{false, true} {
			if !all && both != (n%2 == 0) {
				continue // each in turn
			}
			what := fmt.Sprintf("death after %d commands, of QEMU too: %v", n, both)
			b := byte(2 * n)
			l.keep(ids, b)
			l.must(l.Power(l.Context(), "a", site.PowerStart))
			l.write(ids[0], 2<<20, fill(b+1, dr.BlockSize))
			_ = l.Driver.Close()
			dir := t.TempDir()
			other, err := New(Config{Dir: l.dir, SocketDir: dir, Accel: "tcg"})
			l.must(err)
			m := newMortal(t, filepath.Join(dir, filepath.Base(real)), real, n)
			done = other.Settle(l.Context(), "a", true) == nil
			_ = other.Close()
			_ = m.l.Close()
			<-m.dead
			want := b + 1
			if both {
				l.must(killProcess(l.state("a").PID))
			}
			l.reopen()
			if !both {
				if st, err := l.handle("a").status(l.Context()); err != nil || !st.Running {
					t.Fatalf("%s: guest %+v, %v", what, st, err)
				}
				for _, id := range ids { // into whatever is the disk now
					l.write(id, keptAt, fill(b+2, dr.BlockSize))
				}
				want = b + 2
			}
			l.must(l.Power(l.Context(), "a", site.PowerKill))
			l.wantBlocks(what, ids, keptAt, want)
			l.must(l.Settle(l.Context(), "a", true))
			l.wantSettled(what, "a")
			l.wantBlocks(what+", settled", ids, keptAt, want)
			l.wantBlocks(what+", settled", ids[:1], 2<<20, b+1)
		}
		if done {
			t.Logf("died up to command %d", n-1)
		}
	}
}

// tool replaces the site's image tool by a shell script, whose $@ are its arguments.
func (l *lab) tool(script string) {
	l.Helper()
	path := filepath.Join(l.TempDir(), "tool")
	l.must(os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700)) //nolint:gosec // it is to be run
	l.cfg.ImageTool = path
}

// A stopped machine's layers are taken in by a tool that fails before, in the middle and after.
func TestSettleStoppedFails(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	l.keep(ids, 1)
	for _, script := range []string{`exit 1`, `qemu-img "$@"; exit 1`, `case "$*" in *r.qcow2) exit 1;; esac; exec qemu-img "$@"`} {
		l.tool(script)
		if err := l.Settle(l.Context(), "a", true); err == nil {
			t.Errorf("%s: no error", script)
		}
		l.reopen()
		l.wantBlocks(script, ids, keptAt, 2)
		l.wantKind(l.Settle(l.Context(), "a", false), dr.KindConflict) // the disk below may have changed
	}
	l.putBlocks(ids, 3)
	l.must(l.Preserve(l.Context(), "a")) // ends the accept and keeps anew
	l.putBlocks(ids, 4)
	l.must(l.Settle(l.Context(), "a", false))
	l.wantBlocks("reverted", ids, keptAt, 3)
	l.wantSettled("reverted", "a")

	// Preserve fails half way.
	l.tool(`case "$*" in *r.qcow2*) exit 1;; esac; exec qemu-img "$@"`)
	if err := l.Preserve(l.Context(), "a"); err == nil {
		t.Error("no error")
	}
	l.reopen()
	l.wantSettled("failed", "a")
	l.putBlocks(ids, 5)
	l.must(l.Settle(l.Context(), "a", false))
	l.wantBlocks("nothing was kept", ids, keptAt, 5)
}

// While a machine's disks are settled, captures wait and other actions come first.
func TestSettleYields(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	l.keep(ids, 1)
	l.must(l.Power(l.Context(), "a", site.PowerStart))
	r := newReplica(l, "a")
	c, err := l.Capture(l.Context(), r.request())
	l.must(err)
	settled := make(chan error, 1)
	go func() { settled <- l.Settle(l.Context(), "a", true) }()
	r.pull(c) // the capture under way is read to its end
	l.must(c.Commit(l.Context()))
	l.must(<-settled)
	l.wantSettled("after a capture", "a")
	l.write(ids[1], keptAt, fill(7, dr.BlockSize))
	r.cycle(r.content(ids...))

	l.keep(ids, 3)
	l.must(l.Power(l.Context(), "a", site.PowerStart))
	go func() { settled <- l.Settle(l.Context(), "a", true) }()
	l.must(l.Power(l.Context(), "a", site.PowerKill))
	l.must(<-settled)
	l.wantSettled("after a kill", "a")
	l.wantBlocks("after a kill", ids, keptAt, 4)
}

// A definition that names another disk than the one whose content is kept is refused.
func TestKeptForAnotherDisk(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	l.keep(ids, 1)
	def, err := os.ReadFile(l.definitionPath("a"))
	l.must(err)
	l.must(os.WriteFile(l.definitionPath("a"), bytes.ReplaceAll(def, []byte("a-q.qcow2"), []byte("b-q.qcow2")), 0o600))
	l.must(os.Link(filepath.Join(l.dir, "machines", "a-q.qcow2"), filepath.Join(l.dir, "machines", "b-q.qcow2")))
	l.wantKind(l.Power(l.Context(), "a", site.PowerStart), dr.KindConflict)
	l.must(os.WriteFile(l.definitionPath("a"), def, 0o600))
	l.must(l.Power(l.Context(), "a", site.PowerStart))
}

// The machine was captured and its QEMU died, as in the disaster that it comes back from: its image holds bitmaps that
// are good for nothing.
func TestSettleAfterDisaster(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	for i, running := range []bool{true, false} {
		if i > 0 {
			l.must(l.Power(l.Context(), "a", site.PowerStart))
		}
		r := newReplica(l, "a")
		r.cycle(r.content(ids...))
		m := l.handle("a")
		l.must(m.quit("in order")) // which writes the bitmap
		l.must(l.Power(l.Context(), "a", site.PowerStart))
		state := l.state("a")
		l.must(killProcess(state.PID)) // which leaves it inconsistent
		l.must(m.waitExit(l.Context(), state))
		var info []byte
		l.must(l.image(l.Context(), func(b []byte) { info = append(info, b...) }, "info", filepath.Join(l.dir, "machines", "a-q.qcow2")))
		if !bytes.Contains(info, []byte("in-use")) {
			t.Errorf("the image has no inconsistent bitmap: %s", info)
		}
		l.keep(ids, byte(4*i))
		if running {
			l.must(l.Power(l.Context(), "a", site.PowerStart))
		}
		l.must(l.Settle(l.Context(), "a", true))
		l.wantSettled("after a disaster", "a")
		if running {
			l.write(ids[0], keptAt, fill(9, dr.BlockSize))
			r.cycle(r.content(ids...))
			l.write(ids[0], keptAt, fill(byte(4*i+1), dr.BlockSize))
			if full, _ := r.cycle(r.content(ids...)); full != nil {
				t.Errorf("full %v", full)
			}
			l.must(l.Power(l.Context(), "a", site.PowerKill))
		}
		l.wantBlocks("after a disaster", ids, keptAt, byte(4*i+1))
	}
}
