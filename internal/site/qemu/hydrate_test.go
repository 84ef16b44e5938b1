package qemu

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/need"
)

// provisionFrom makes and starts a machine whose disk is random content served over NBD.
func (l *lab) provisionFrom(size int) (m dr.Machine, content []byte) {
	l.Helper()
	content = make([]byte, size)
	_, _ = rand.Read(content)
	req := site.ProvisionRequest{
		Machine: dr.Machine{Name: "copy", MemoryMiB: 32, Disks: []dr.Disk{{Name: "data", Size: int64(size)}}},
		Sources: map[string]string{"data": l.serve(l, content)}, Owner: "run-1",
	}
	l.must(l.Provision(l.Context(), req))
	l.must(l.Power(l.Context(), "copy", site.PowerStart))
	return l.get("copy"), content
}

// wantContent compares the disk of the stopped machine, which must need no source.
func (l *lab) wantContent(disk dr.Disk, want []byte) {
	l.Helper()
	img, err := readImage(disk.Path, disk.Format)
	l.must(err)
	if img.Backing != "" {
		l.Fatalf("the disk still needs %s", img.Backing)
	}
	path := l.TempDir() + "/raw"
	l.must(l.image(l.Context(), nil, "convert", "-f", "qcow2", "-O", "raw", disk.Path, path))
	got, err := os.ReadFile(path)
	l.must(err)
	if !bytes.Equal(got, want) {
		l.Fatal("the hydrated disk differs")
	}
}

// throttledStream starts the machine's stream at a speed that leaves time to interrupt it.
func (l *lab) throttledStream() {
	l.Helper()
	c, err := l.handle("copy").monitor(l.Context())
	l.must(err)
	l.must(c.Run(l.Context(), "block-stream", map[string]any{
		"job-id": streamJob("data"), "device": formatNode("data"), "speed": 64 << 10, "auto-dismiss": false, "auto-finalize": false,
	}, nil))
}

// TestHydrateResumes: the controller dies while QEMU streams. The next one follows the same job to its end, and what the
// guest wrote meanwhile is kept.
func TestHydrateResumes(t *testing.T) {
	l := newLab(t)
	m, content := l.provisionFrom(4 << 20)
	l.throttledStream()
	ctx, cancel := context.WithCancel(l.Context())
	var once sync.Once
	err := l.Hydrate(ctx, "copy", func(int64, int64) { once.Do(cancel) })
	if err == nil {
		t.Fatal("hydrated although cancelled")
	}
	cancel()
	l.write(dr.DiskID{Machine: "copy", Disk: "data"}, 1<<20, bytes.Repeat([]byte{7}, 4096))
	l.guestIO(dr.DiskID{Machine: "copy", Disk: "data"}, "flush")
	copy(content[1<<20:], bytes.Repeat([]byte{7}, 4096))
	l.reopen()
	c, err := l.handle("copy").monitor(l.Context())
	l.must(err)
	if _, found, err := findJob(l.Context(), c, streamJob("data")); err != nil || !found {
		t.Fatalf("the job is gone: %v", err)
	}
	l.must(c.Run(l.Context(), "block-job-set-speed", map[string]any{"device": streamJob("data"), "speed": 0}, nil))
	var done, total int64
	l.must(l.Hydrate(l.Context(), "copy", func(d, t int64) { done, total = d, t }))
	if done != total || total != 4<<20 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	l.must(l.Power(l.Context(), "copy", site.PowerKill))
	l.wantContent(m.Disks[0], content)
}

// TestHydrateOverPower: the machine is killed in the middle; the disk is finished without it.
func TestHydrateOverPower(t *testing.T) {
	l := newLab(t)
	m, content := l.provisionFrom(4 << 20)
	l.throttledStream()
	started := make(chan struct{})
	var once sync.Once
	hydrated := make(chan error, 1)
	go func() {
		hydrated <- l.Hydrate(l.Context(), "copy", func(int64, int64) { once.Do(func() { close(started) }) })
	}()
	<-started
	l.must(l.Power(l.Context(), "copy", site.PowerKill))
	l.must(<-hydrated)
	l.wantContent(m.Disks[0], content)
	l.must(l.Power(l.Context(), "copy", site.PowerStart))
}

// TestHydrateSourceGone: the error says so, and nothing is spoilt.
func TestHydrateSourceGone(t *testing.T) {
	l := newLab(t)
	req := site.ProvisionRequest{
		Machine: dr.Machine{Name: "copy", Disks: []dr.Disk{{Name: "data", Size: 1 << 20}}},
		Sources: map[string]string{"data": "nbd+unix:///disk?socket=/nowhere"},
	}
	l.must(l.Provision(l.Context(), req))
	l.wantKind(l.Hydrate(l.Context(), "copy", nil), dr.KindUnavailable)
	img, err := readImage(l.get("copy").Disks[0].Path, "qcow2")
	l.must(err)
	if img.Backing == "" {
		t.Error("the disk forgot its source")
	}
}

// TestAccel: the trial tells a guest that runs from one that does not.
func TestAccel(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	l.must(l.tryAccel(ctx, "tcg"))
	if err := l.tryAccel(ctx, "no-such-accelerator"); err == nil {
		t.Error("no error")
	}
}

// TestBootSector assembles the trial's guest anew.
func TestBootSector(t *testing.T) {
	need.Tool(t, "as", "ld")
	object, binary := filepath.Join(t.TempDir(), "o"), filepath.Join(t.TempDir(), "bin")
	for _, cmd := range [][]string{
		{"as", "-o", object, "testdata/bootsector.S"},
		{"ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, object},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if code, err := os.ReadFile(binary); err != nil || !bytes.Equal(code, bootSector) || len(code) > 510 {
		t.Errorf("%x %v, want %x", code, err, bootSector)
	}
}
