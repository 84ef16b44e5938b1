package qemu

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// holdDisk is another controller: it writes to a disk and keeps it open until it is ended.
func holdDisk(dir string) error {
	d, err := New(Config{Dir: dir, Accel: "tcg"})
	if err != nil {
		return err
	}
	disk, err := d.OpenDisk(context.Background(), "idle", "data", true)
	if err != nil {
		return err
	}
	if _, err := disk.WriteAt(fill(8, dr.BlockSize), 0); err != nil {
		return err
	}
	if err := disk.Flush(); err != nil {
		return err
	}
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// While another controller lives, even one that stands still, its disk is its own; when it is killed nothing of it stays.
func TestOpenDiskOfKilledController(t *testing.T) {
	l := newLab(t)
	l.define("idle", idleYAML, "data.qcow2")
	exe, err := os.Executable()
	l.must(err)
	other := exec.Command(exe, "hold-disk", l.dir)
	other.Stderr = os.Stderr
	in, err := other.StdinPipe()
	l.must(err)
	defer in.Close() //nolint:errcheck // a test
	out, err := other.StdoutPipe()
	l.must(err)
	l.must(other.Start())
	t.Cleanup(func() { _ = other.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatalf("%q, %v", line, err)
	}
	records, err := filepath.Glob(filepath.Join(l.handle("idle").openedDir(), "*.json"))
	if err != nil || len(records) != 1 {
		t.Fatalf("%v, %v", records, err)
	}
	l.must(exec.Command("kill", "-STOP", strconv.Itoa(other.Process.Pid)).Run())
	l.wantKind(l.Power(l.Context(), "idle", site.PowerStart), dr.KindConflict)
	_, err = l.OpenDisk(l.Context(), "idle", "data", false)
	l.wantKind(err, dr.KindConflict)
	l.must(other.Process.Kill())
	_ = other.Wait()
	id := []dr.DiskID{{Machine: "idle", Disk: "data"}}
	l.wantBlocks("flushed", id, 0, 8)
	if _, err := os.Stat(records[0]); err == nil {
		t.Error("its record is left")
	}
	l.must(l.Power(l.Context(), "idle", site.PowerStart))

	// A server that does not end when its controller does is ended.
	l.must(l.Power(l.Context(), "idle", site.PowerKill))
	stuck := exec.Command("sleep", "1000")
	stuck.SysProcAttr = ownSession()
	l.must(stuck.Start())
	ended := make(chan error, 1)
	go func() { ended <- stuck.Wait() }()
	l.must(writeJSON(records[0], opened{Disk: "data", Write: true, PID: stuck.Process.Pid, Start: processStart(stuck.Process.Pid), Owner: other.Process.Pid, OwnerStart: "gone"}))
	l.must(l.Power(l.Context(), "idle", site.PowerStart))
	if err := <-ended; err == nil {
		t.Error("it was not ended")
	}
}
